"""One's own masks: points a segmentation config to a folder of images and masks, with the classes found there."""

import importlib
import logging
import os
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict

from ...errors import InputError, listed
from .datasets import PHASES, class_names, phase_datasets
from .faults import refuse
from .heads import own_metainfo, size_heads
from .image_check import read_many
from .mask_check import class_faults, found_classes
from .mask_data import MaskFolder, Pairs, class_values, find_mask_folder, pair_files, read_mask

_DATASET, _MODULE = "MaskFolderDataset", "maxvit_dense.openmmlab.data.mask_dataset"
_SPLIT_OF = {"train": "train", "val": "val", "test": "val"}
_SHOWN = 10

_logger = logging.getLogger(__name__)


def adopt_masks(cfg: Config, class_file: str | os.PathLike | None = None) -> None:
    """Give ``cfg`` the files and classes of a folder of images and masks, if its data root is one.

    Sets folders, class names, palette and the values in masks of every data set, and every class count of the
    model's heads. For ADE20K itself nothing but the root is set.

    Args:
        cfg: whose data sets are mmseg's, all under one ``data_root``.
        class_file: list of classes, in place of that in the folder; see ``mask_data.class_values``.

    Raises:
        InputError: the list cannot be used; the masks hold one class; there are no images; ``class_file`` is given
            for a data set of another layout.
    """
    datasets = [dataset for _, dataset in phase_datasets(cfg, PHASES)]
    root = datasets[0].get("data_root") or ""
    folder = find_mask_folder(root)
    if folder is None or (folder.is_ade20k and not class_file and datasets[0]["type"] != _DATASET):
        if class_file and folder is None:
            raise InputError(f"--classes names the classes of masks, and {root} has no images/ beside masks/.")
        for dataset in datasets if folder else ():
            dataset["data_root"] = str(folder.root)
        return
    pairs = [pair_files(*folders) for folders in folder.splits.values()]
    old = class_names(cfg, PHASES)[0]
    named, source = _classes(folder, class_file, datasets[0], old, pairs)
    refuse(class_faults(named), f"{source} ({folder.convention})")
    _point_to(cfg, folder, named)
    names = tuple(named.values())
    resized = size_heads(cfg.model, len(names), len(old))
    _logger.info(
        "%d classes from %s%s: %s; %s. Sized by them: %s.",
        len(names),
        source,
        f" in place of the config's {len(old)}" if names != old else ", the config's own",
        listed((f"{value} {name}" for value, name in named.items()), _SHOWN),
        folder.convention,
        ", ".join(resized) or "no head",
    )


def _classes(
    folder: MaskFolder,
    class_file: str | os.PathLike | None,
    dataset: ConfigDict,
    old: tuple[str, ...],
    pairs: Sequence[Pairs],
) -> tuple[dict[int, str], str]:
    """Class name by value in the masks, and where it is from."""
    named = class_values(folder, class_file)
    if named:
        return named, str(class_file or folder.class_file)
    if dataset["type"] == _DATASET:  # of an earlier run on such a folder
        return dict(zip(dataset["values"], old, strict=True)), "the config"
    masks = [mask for pair in pairs for mask in pair.masks.values()]
    _logger.info("%s has no list of classes: reading the values of all %d masks.", folder.root, len(masks))
    return found_classes(folder, read_many(read_mask, masks)), f"the values in the masks of {folder.root}"


def _point_to(cfg: Config, folder: MaskFolder, named: dict[int, str]) -> None:
    """Have all phases read ``folder``."""
    importlib.import_module(_MODULE)
    _import_in(cfg)
    names = tuple(named.values())
    for phase, dataset in phase_datasets(cfg, PHASES):
        own = dataset.get("metainfo") or {}
        keeps_colours = tuple(own.get("classes", ())) == names and "palette" in own
        images, masks = (str(path.relative_to(folder.root)) for path in folder.split(_SPLIT_OF[phase]))
        for key in ("img_suffix", "seg_map_suffix", "reduce_zero_label", "ann_file", "data_prefix", "metainfo"):
            dataset.pop(key, None)
        dataset.update(
            type=_DATASET,
            data_root=str(folder.root),
            data_prefix=dict(img_path=images, seg_map_path=masks),
            values=list(named),
            metainfo=own if keeps_colours else own_metainfo(names),
        )
    for part in (*(cfg.get(f"{phase}_dataloader") for phase in PHASES), cfg.get("tta_pipeline")):
        for step in _annotation_steps(part):
            step.pop("reduce_zero_label", None)  # the data set says it


def _annotation_steps(part: Any) -> Iterator[ConfigDict]:
    """All ``LoadAnnotations`` of a config's entry, however deep."""
    if isinstance(part, dict):
        if str(part.get("type")).rpartition(".")[2] == "LoadAnnotations":
            yield part
        part = list(part.values())
    if isinstance(part, list | tuple):
        for item in part:
            yield from _annotation_steps(item)


def _import_in(cfg: Config) -> None:
    """Name the module of the data set in ``cfg``, so that a dumped config finds it."""
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    listed = [imports["imports"]] if isinstance(imports["imports"], str) else list(imports["imports"])
    cfg.custom_imports = dict(imports, imports=list(dict.fromkeys([*listed, _MODULE])))
