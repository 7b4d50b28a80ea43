"""Points a detector's config to COCO files under any names and to their classes, and has them parsed once."""

import importlib
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ....errors import InputError, listed
from ...config.parts import entries, type_name
from ..choice import Choice, new_names
from ..data_set import PHASES, coco_sets, data_sets, evaluators
from ..formats.find import FORMATS, MASKS, find_format
from ..layouts.coco_check import category_names
from ..layouts.coco_file import CocoSplit, find_coco, keep_annotations
from .classes import classes_of
from .heads import own_metainfo, size_heads

_MODULE = "maxvit_dense.openmmlab.data.coco_dataset"
_SHARED = {"CocoDataset": "CocoFileDataset", "CocoMetric": "CocoFileMetric"}
_WANTED = {"train": ("train",), "val": ("val", "test"), "test": ("val", "test")}  # of the splits that are there
_SHOWN = 10

_logger = logging.getLogger(__name__)


def point_to_coco(cfg: Config, root: str | os.PathLike, phases: Iterable[str]) -> None:
    """Have all data sets and evaluators read the annotation files that are found in ``root``.

    Nothing is done where the files that the config names are there, or where it reads no COCO files.

    Raises:
        InputError: ``find_coco`` refuses; a split that ``phases`` need is not there.
    """
    needed = coco_sets(cfg, phases)
    if not needed or all(os.path.isfile(data.annotations) for data in needed):
        return
    splits = {split.split: split for split in find_coco(root)}
    if not splits:
        _refuse_other_formats(Path(root))
        return  # the check says what is missing
    for phase in (data.phase for data in needed):
        if not any(name in splits for name in _WANTED[phase]):
            there = ", ".join(str(split.path.relative_to(root)) for split in splits.values())
            raise InputError(
                f"{root} has no annotation file whose name or folder says that it is of the {_WANTED[phase][0]} images "
                f"(there: {there}). Divide it, or let convert-dataset draw a split: maxvit-dense convert-dataset "
                f"{root} OUT."
            )
    for phase in PHASES:
        found = next((splits[name] for name in _WANTED[phase] if name in splits), None)
        if found:
            _point(cfg, phase, found, Path(root))


def _refuse_other_formats(root: Path) -> None:
    try:
        kind = find_format(root)
    except InputError:
        return
    if kind in FORMATS:
        raise InputError(
            f"{root} is a {kind} data set, and this config reads COCO's. Convert it in one command, then give OUT as "
            f"--data-root: maxvit-dense convert-dataset {root} OUT."
        )
    there, family = ("images and masks", "segmentation") if kind == MASKS else ("class folders", "classification")
    raise InputError(f"{root} holds {there}, and this config reads COCO's boxes. Take a config of {family}.")


def _point(cfg: Config, phase: str, split: CocoSplit, root: Path) -> None:
    for data in coco_sets(cfg, (phase,)):
        images = os.path.relpath(split.images, root)
        data.entry.update(
            ann_file=str(split.path.relative_to(root)),
            data_prefix={**data.entry.get("data_prefix", {}), "img": "" if images == "." else f"{images}/"},
        )
    for evaluator in evaluators(cfg, (phase,)):
        if "ann_file" in evaluator:
            evaluator["ann_file"] = str(split.path)


def adopt_categories(cfg: Config, phases: Iterable[str], files: list[str], choice: Choice, by_hand: bool) -> None:
    """The part of ``adopt_classes`` for COCO's ``files``."""
    options: dict[str, Any] = dict(boxes_as_masks=True) if choice.boxes_as_masks else {}
    pairs = choice.of_named(files, category_names)
    if pairs:
        names, options["categories"] = tuple(new_names(pairs)), [list(pair) for pair in pairs]
    elif by_hand or any(data.entry.get("categories") for data in coco_sets(cfg, phases)):
        names = ()  # chosen before, as the config says
    else:
        names = _common_names(files)
    if options:
        read_through(cfg, PHASES, "Classes are chosen, or boxes stand for masks", **options)
    old = [data.classes for data in data_sets(cfg, phases)]
    if not names or all(tuple(classes) == names for classes in old):
        return
    for data in data_sets(cfg, PHASES):
        data.entry["metainfo"] = own_metainfo(names)
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
    for data in coco_sets(cfg, phases):
        path = data.annotations
        pairs = data.entry.get("categories") or [[name, name] for name in category_names(path)]
        names, classes = tuple(new_names(pairs)), data.classes
        if set(trained) != set(classes) or set(trained) != set(names) or trained == classes == names:
            continue
        data.entry["metainfo"] = own_metainfo(trained)
        if names == trained:
            continue
        problem = f"The categories of {path} stand in another order than the model's classes ({listed(trained)})"
        read_through(cfg, (data.phase,), problem, categories=sorted(pairs, key=lambda pair: trained.index(pair[1])))
        _logger.info("%s: labels in the order of the model's classes: %s", path, listed(trained, _SHOWN))


def read_through(cfg: Config, phases: Iterable[str], problem: str, **options: Any) -> None:
    """Have COCO data sets and metrics of ``phases`` read their files with ``options`` of ``CocoFileDataset``.

    Raises:
        InputError: ``problem``, and that some kind of them reads files in its own way.
    """
    for phase in phases:
        readers = [data.entry for data in coco_sets(cfg, (phase,))]
        readers += [entry for entry in evaluators(cfg, (phase,)) if phase != "train" and entry.get("ann_file")]
        for entry in readers:
            kind = type_name(entry)
            if kind not in {*_SHARED, *_SHARED.values()}:
                raise InputError(f"{problem}, and labels of {kind} follow the file. Write it as the model has it.")
            entry.update(options, type=_SHARED.get(kind, kind))
    importlib.import_module(_MODULE)
    import_in(cfg, _MODULE)


def share_files(cfg: Config, phases: Iterable[str]) -> None:
    """Have mmdet's own COCO data sets and metrics read what the checks read: one parse of each file a process."""
    readers = [(data.phase, data.entry, data.annotations) for data in coco_sets(cfg, PHASES)]
    readers += [(phase, entry, entry.get("ann_file") or "") for phase in PHASES for entry in evaluators(cfg, (phase,))]
    phases, kept = tuple(phases), []
    for phase, entry, path in readers:
        if type_name(entry) in _SHARED and not entry.get("backend_args") and os.path.isfile(path):
            entry["type"] = _SHARED[type_name(entry)]
        if phase in phases and entry["type"] in _SHARED.values():
            kept.append(path)
    if kept:
        importlib.import_module(_MODULE)
        import_in(cfg, _MODULE)
    keep_annotations(kept)


def drop_unused_masks(cfg: Config) -> None:
    """Have a model without masks load none, so that its data need none; CopyPaste, which cuts them out, does."""
    if _takes_masks(cfg.model):
        return
    for data in coco_sets(cfg, PHASES):
        if any(type_name(step) == "CopyPaste" for step in data.pipeline):
            continue
        for step in data.pipeline:
            if step.get("with_mask"):
                step["with_mask"] = False


def _takes_masks(model: Any) -> bool:
    """Whether an entry of a model's config, beside its preprocessing, speaks of masks: mask_head, loss_mask, ..."""
    said = {key for key, value in entries(model, "**") if value is not None}
    return any("mask" in key.rpartition(".")[2] for key in said if "data_preprocessor" not in key)


def import_in(cfg: Config, module: str) -> None:
    """Name ``module`` in ``cfg``, so that a dumped config finds what it registers."""
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    modules = [imports["imports"]] if isinstance(imports["imports"], str) else list(imports["imports"])
    cfg.custom_imports = dict(imports, imports=list(dict.fromkeys([*modules, module])))

