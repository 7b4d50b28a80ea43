"""Points a segmentor's config to a folder of images and masks, and to the classes that its masks hold."""

import importlib
import logging
from pathlib import Path

from mmengine.config import Config, ConfigDict

from ....errors import InputError, listed
from ...config.parts import entries, type_name
from ..choice import EVERYTHING, Choice
from ..data_set import PHASES, data_sets
from ..faults import refuse
from ..image_check import read_many
from ..layouts.mask_files import Labels, class_faults, found_labels, pair_files, read_labels, read_mask
from ..layouts.mask_folders import MaskFolder, find_mask_folder
from .coco import import_in
from .heads import own_metainfo, size_heads

_MASKS, _MASKS_MODULE = "MaskFolderDataset", "maxvit_dense.openmmlab.data.mask_dataset"
_OF_MASKS = ("img_suffix", "seg_map_suffix", "reduce_zero_label")  # what mmseg's data sets of masks ask for
_SPLIT_OF = {"train": "train", "val": "val", "test": "val"}
_SHOWN = 10

_logger = logging.getLogger(__name__)


def adopt_masks(cfg: Config, choice: Choice = EVERYTHING) -> None:
    """Give ``cfg`` the files and classes of a folder of images and masks, if its data root is one.

    Sets folders, class names, palette and the values in masks of every data set, and every class count of the
    model's heads. For ADE20K itself nothing but the root is set.

    Args:
        cfg: whose data sets are mmseg's, all under one ``data_root``.
        choice: of the classes; its ``file`` is read in place of that in the folder (``mask_files.read_labels``).

    Raises:
        InputError: the list cannot be used; the masks hold one class; there are no images; there is a ``choice`` for
            a data set of another layout.
    """
    own, given = data_sets(cfg, PHASES), choice != EVERYTHING
    folder = find_mask_folder(own[0].root)
    if folder is None or (folder.is_ade20k and not given and own[0].entry["type"] != _MASKS):
        if given and folder is None:
            raise InputError(
                f"--classes and --void are about masks, and {own[0].root} has no folder of images and of masks."
            )
        for data in own if folder else ():
            data.entry["data_root"] = str(folder.root)
        return
    old = own[0].classes
    labels, source = _labels(folder, choice, own[0].entry, old)
    refuse(class_faults(labels), f"{source} ({folder.convention})")
    _point_to(cfg, folder, labels)
    names = labels.classes
    resized = size_heads(cfg.model, len(names), len(old))
    _logger.info(
        "%d classes from %s%s: %s; %s. Sized by them: %s.",
        len(names),
        source,
        f" in place of the config's {len(old)}" if names != old else ", the config's own",
        listed((f"{value} {name}" for value, name in labels.named.items()), _SHOWN),
        folder.convention,
        ", ".join(resized) or "no head",
    )


def _labels(folder: MaskFolder, choice: Choice, dataset: ConfigDict, old: tuple[str, ...]) -> tuple[Labels, str]:
    """What the values in the masks mean, and where that is from."""
    before = _labels_before(dataset, old)
    # Some were chosen then: the folder's list names what that run ignores.
    narrowed = before and (dataset.get("merged") or before.void & read_labels(folder).named.keys())
    if narrowed and not (choice.file or choice.void):
        return before.chosen(choice), "the config"
    labels = read_labels(folder, choice.file, choice.void or (before.void if before and not narrowed else ()))
    if labels.named:
        return labels.chosen(choice), str(choice.file or folder.class_file or folder.kind)
    if before:
        return Labels(before.named, labels.void).chosen(choice), "the config"
    pairs = (pair_files(f.images, f.masks, f.endings, f.listed) for f in folder.splits.values())
    masks = [mask for pair in pairs for mask in pair.masks.values()]
    _logger.info("%s has no list of classes: reading the values of all %d masks.", folder.root, len(masks))
    labels = found_labels(folder, read_many(read_mask, masks), labels.void)
    return labels.chosen(choice), f"the values in the masks of {folder.root}"


def _labels_before(dataset: ConfigDict, old: tuple[str, ...]) -> Labels | None:
    """What values mean to a config of an earlier run on such a folder."""
    if dataset["type"] != _MASKS:
        return None
    merged = {value: old[label] for value, label in dataset.get("merged", ())}
    return Labels(dict(zip(dataset["values"], old, strict=True)) | merged, frozenset(dataset.get("void", ())))


def _point_to(cfg: Config, folder: MaskFolder, labels: Labels) -> None:
    """Have all phases read ``folder``."""
    importlib.import_module(_MASKS_MODULE)
    import_in(cfg, _MASKS_MODULE)
    names = labels.classes
    values = {name: value for value, name in reversed(labels.named.items())}  # the first of each class
    merged = [[value, names.index(name)] for value, name in labels.named.items() if values[name] != value]
    for data in data_sets(cfg, PHASES):
        own = data.entry.get("metainfo") or {}
        keeps_colours = tuple(own.get("classes", ())) == names and "palette" in own
        files = folder.split(_SPLIT_OF[data.phase])
        for key in (*_OF_MASKS, "merged"):
            data.entry.pop(key, None)
        data.entry.update(
            type=_MASKS,
            data_root=str(folder.root),
            data_prefix=dict(img_path=_below(files.images, folder), seg_map_path=_below(files.masks, folder)),
            values=[values[name] for name in names],
            void=sorted(labels.void),
            endings=list(files.endings),
            ann_file=_below(files.listed, folder) if files.listed else "",
            **(dict(merged=merged) if merged else {}),
            metainfo=own if keeps_colours else own_metainfo(names),
        )
    for part in (*(cfg.get(f"{phase}_dataloader") for phase in PHASES), cfg.get("tta_pipeline")):
        for _, step in entries(part, "**"):
            if isinstance(step, dict) and type_name(step) == "LoadAnnotations":
                step.pop("reduce_zero_label", None)  # the data set says it


def _below(path: Path, folder: MaskFolder) -> str:
    return str(path.relative_to(folder.root))
