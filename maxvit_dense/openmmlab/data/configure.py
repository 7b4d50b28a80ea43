"""Everything that one's own data changes in a config: root, classes, heads and checks, in one call."""

import importlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.config import Config, ConfigDict

from ...errors import InputError, listed
from ..classification.prepare import classes_of, prepare_classification
from .batches import check_batch
from .choice import EVERYTHING, Choice, new_names
from .coco_check import CLIPPED_SHARE, category_names
from .coco_config import drop_unused_masks, import_in, point_to_coco, read_through, share_files
from .coco_file import keep_annotations
from .datasets import (
    COUNTED,
    PHASES,
    check_datasets,
    class_names,
    coco_files,
    dataset_type,
    evaluators,
    is_segmentation,
    phase_datasets,
)
from .faults import refuse
from .heads import own_metainfo, size_heads
from .image_check import read_many
from .mask_check import class_faults, found_labels
from .mask_data import Labels, pair_files, read_labels, read_mask
from .mask_layouts import MaskFolder, find_mask_folder
from .samples import draw_missing_samples

_MASKS, _MASKS_MODULE = "MaskFolderDataset", "maxvit_dense.openmmlab.data.mask_dataset"
_OF_MASKS = ("img_suffix", "seg_map_suffix", "reduce_zero_label")  # what mmseg's data sets of masks ask for
_SPLIT_OF = {"train": "train", "val": "val", "test": "val"}
_SHOWN = 10

_logger = logging.getLogger(__name__)


def configure_data(
    cfg: Config,
    phases: Sequence[str],
    *,
    data_root: str | None = None,
    choice: Choice = EVERYTHING,
    overrides: Mapping[str, Any] | None = None,
    bad_boxes: str = "refuse",
    clipped: float = CLIPPED_SHARE,
    predicted: bool = False,
    checkpoint: Mapping[str, Any] | None = None,
) -> None:
    """Point ``cfg`` to its data, fit it to them and check them; a demo's data are drawn if they are missing.

    Each step needs the ones before: the root tells where classes are read from, these are what is checked.

    Args:
        cfg: of a detector, a segmentor or a classifier.
        phases: of "train", "val", "test", whose data will be read.
        data_root: of all data sets, in place of the config's; the classes are then those found there.
        choice: what the command line says of labels.
        overrides: config entries of the command line, by dotted name; they stand.
        bad_boxes: "refuse" or "skip" annotated boxes that reach outside their image.
        clipped: share of a box that may do so: it is clipped.
        predicted: predictions are wanted, so annotations may be missing.
        checkpoint: what will be evaluated or resumed; its classes are those of the labels.

    Raises:
        InputError: as ``replace_data_root``, ``draw_missing_samples``, ``adopt_classes``, ``check_datasets`` and
            ``prepare_classification``.
    """
    COUNTED.clear()  # of a run before, whose files may have changed
    try:
        if "train" in phases:
            check_batch(cfg)
        if data_root:
            replace_data_root(cfg, data_root)
            point_to_coco(cfg, data_root, phases)
        draw_missing_samples(cfg)
        if data_root or choice != EVERYTHING:
            adopt_classes(cfg, phases, overrides, choice)
        keep_class_order(cfg, phases, checkpoint)
        drop_unused_masks(cfg)
        check_datasets(cfg, phases, bad_boxes, clipped, predicted)
        share_files(cfg, phases)
    except BaseException:
        keep_annotations({})
        raise
    prepare_classification(cfg, phases, overrides, checkpoint)


def replace_data_root(cfg: Config, data_root: str) -> None:
    """Point every data set and evaluator of ``cfg`` to another folder of the same layout.

    Raises:
        InputError: the data sets of the config lie under several roots, so that one cannot stand for all.
    """
    roots = {dataset.get("data_root") or "" for _, dataset in phase_datasets(cfg, PHASES)}
    if len(roots) > 1:
        raise InputError(
            f"--data-root stands for one folder, but the config's data sets lie under {len(roots)}: "
            f"{', '.join(sorted(roots))}. Set each with --cfg-options, for example "
            "train_dataloader.dataset.data_root=... ."
        )
    old = roots.pop() if roots else ""
    for _, dataset in phase_datasets(cfg, PHASES):
        dataset["data_root"] = data_root
    for evaluator in evaluators(cfg, PHASES):
        for key, value in evaluator.items():
            if isinstance(value, str) and _lies_under(value, old):
                evaluator[key] = os.path.join(data_root, os.path.relpath(value, old))


def adopt_classes(
    cfg: Config, phases: Iterable[str], overrides: Mapping[str, Any] | None = None, choice: Choice = EVERYTHING
) -> None:
    """Give ``cfg`` the classes of its annotation files or masks, where they differ from its own.

    Sets class names and palette of every data set, and every class count of the model's heads. Nothing is done
    for data sets of other kinds than COCO's and mmseg's, nor where ``overrides`` give classes or their number by
    hand.

    Args:
        cfg: whose data sets lie where they will be read from.
        phases: whose annotation files are read; the classes are set for all phases, so that a config dumped
            in training can be tested later.
        overrides: config entries of the command line, by dotted name.
        choice: of the classes.

    Raises:
        InputError: a file that cannot be read, without categories, or with one named twice; files whose
            categories differ; class weights of the config that are a matter of its own classes; masks that
            ``adopt_masks`` refuses; a ``choice`` of classes given by hand too, or that these data cannot follow.
    """
    by_hand = [key for key in overrides or {} if key.endswith(("classes", "metainfo"))]
    if by_hand and (choice.file or choice.selects or choice.void):
        raise InputError(f"--cfg-options {by_hand[0]} gives the classes. Leave --classes, --rename and --void out.")
    types = [dataset_type(d["type"], cfg.get("default_scope")) for _, d in phase_datasets(cfg, PHASES)]
    if any(map(is_segmentation, types)):
        if choice.boxes_as_masks:
            raise InputError("--boxes-as-masks is about annotated boxes, and this config reads masks. Leave it out.")
        if not by_hand:
            adopt_masks(cfg, choice)
        return
    if choice.void:
        raise InputError("--void lists values of masks, and this config reads none. Leave it out.")
    files = list(dict.fromkeys(path for _, _, path in coco_files(cfg, phases)))
    if files:
        _adopt_categories(cfg, phases, files, choice, bool(by_hand))
    elif choice != EVERYTHING:
        raise InputError("--classes, --rename and --boxes-as-masks are about COCO's boxes or masks. Leave it out.")


def _adopt_categories(cfg: Config, phases: Iterable[str], files: list[str], choice: Choice, by_hand: bool) -> None:
    """The part of ``adopt_classes`` for COCO's ``files``."""
    options: dict[str, Any] = dict(boxes_as_masks=True) if choice.boxes_as_masks else {}
    pairs = choice.of_named(files, category_names)
    if pairs:
        names, options["categories"] = tuple(new_names(pairs)), [list(pair) for pair in pairs]
    elif by_hand or any(dataset.get("categories") for _, dataset, _ in coco_files(cfg, phases)):
        names = ()  # chosen before, as the config says
    else:
        names = _common_names(files)
    if options:
        read_through(cfg, PHASES, "Classes are chosen, or boxes stand for masks", **options)
    old = class_names(cfg, phases)
    if not names or all(tuple(classes) == names for classes in old):
        return
    for _, dataset in phase_datasets(cfg, PHASES):
        dataset["metainfo"] = own_metainfo(names)
    resized = size_heads(cfg.model, len(names), len(old[0]))
    _logger.info(
        "%d classes from %s in place of the config's %d: %s. Sized by them: %s.",
        len(names),
        files[0],
        len(old[0]),
        listed(names, _SHOWN),
        ", ".join(resized) or "no head",
    )


def _common_names(paths: Iterable[str]) -> tuple[str, ...]:
    """The categories that all files have. Labels are numbered by a file's order, so that must agree too."""
    found = {path: category_names(path) for path in paths}
    (first, names), *others = found.items()
    for path, theirs in others:
        if theirs == names:
            continue
        differing = [
            *(f"{name} is in {os.path.basename(first)} only" for name in names if name not in theirs),
            *(f"{name} is in {os.path.basename(path)} only" for name in theirs if name not in names),
        ]
        raise InputError(
            f"The categories of {first} and {path} differ: "
            f"{listed(differing, _SHOWN) or 'they stand in another order'}. "
            "Give both files the same categories in the same order."
        )
    return names


def keep_class_order(cfg: Config, phases: Iterable[str], checkpoint: Mapping[str, Any] | None) -> None:
    """Have labels follow the order of a checkpoint's classes, where a file has the same ones in another order.

    Raises:
        InputError: the data set or its metric is of a kind whose labels follow the file alone.
    """
    trained = classes_of(checkpoint or {})
    for phase, dataset, path in list(coco_files(cfg, phases)):
        dataset_class = dataset_type(dataset["type"], cfg.get("default_scope"))
        pairs = dataset.get("categories") or [[name, name] for name in category_names(path)]
        names = tuple(new_names(pairs))
        classes = tuple(dataset_class._load_metainfo(dataset.get("metainfo")).get("classes", ()))
        if set(trained) != set(classes) or set(trained) != set(names) or trained == classes == names:
            continue
        dataset["metainfo"] = own_metainfo(trained)
        if names == trained:
            continue
        problem = f"The categories of {path} stand in another order than the model's classes ({listed(trained)})"
        read_through(cfg, (phase,), problem, categories=sorted(pairs, key=lambda pair: trained.index(pair[1])))
        _logger.info("%s: labels in the order of the model's classes: %s", path, listed(trained, _SHOWN))


# Masks.


def adopt_masks(cfg: Config, choice: Choice = EVERYTHING) -> None:
    """Give ``cfg`` the files and classes of a folder of images and masks, if its data root is one.

    Sets folders, class names, palette and the values in masks of every data set, and every class count of the
    model's heads. For ADE20K itself nothing but the root is set.

    Args:
        cfg: whose data sets are mmseg's, all under one ``data_root``.
        choice: of the classes; its ``file`` is read in place of that in the folder (``mask_data.read_labels``).

    Raises:
        InputError: the list cannot be used; the masks hold one class; there are no images; there is a ``choice`` for
            a data set of another layout.
    """
    datasets = [dataset for _, dataset in phase_datasets(cfg, PHASES)]
    root = datasets[0].get("data_root") or ""
    folder = find_mask_folder(root)
    given = choice != EVERYTHING
    if folder is None or (folder.is_ade20k and not given and datasets[0]["type"] != _MASKS):
        if given and folder is None:
            raise InputError(f"--classes and --void are about masks, and {root} has no folder of images and of masks.")
        for dataset in datasets if folder else ():
            dataset["data_root"] = str(folder.root)
        return
    old = class_names(cfg, PHASES)[0]
    labels, source = _labels(folder, choice, datasets[0], old)
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
    for phase, dataset in phase_datasets(cfg, PHASES):
        own = dataset.get("metainfo") or {}
        keeps_colours = tuple(own.get("classes", ())) == names and "palette" in own
        files = folder.split(_SPLIT_OF[phase])
        for key in (*_OF_MASKS, "merged"):
            dataset.pop(key, None)
        dataset.update(
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
        for step in _annotation_steps(part):
            step.pop("reduce_zero_label", None)  # the data set says it


def _below(path: Path, folder: MaskFolder) -> str:
    return str(path.relative_to(folder.root))


def _annotation_steps(part: Any) -> Iterator[ConfigDict]:
    """All ``LoadAnnotations`` of a config's entry, however deep."""
    if isinstance(part, dict):
        if str(part.get("type")).rpartition(".")[2] == "LoadAnnotations":
            yield part
        part = list(part.values())
    if isinstance(part, list | tuple):
        for item in part:
            yield from _annotation_steps(item)


def _lies_under(path: str, root: str) -> bool:
    return os.path.normpath(path).startswith(os.path.join(os.path.normpath(root), "")) and bool(root)
