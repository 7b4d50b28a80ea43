"""Points a detector's config to COCO files under any names, and has them parsed once."""

import importlib
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ...errors import InputError
from .coco_file import CocoSplit, find_coco, keep_annotations
from .datasets import PHASES, coco_files, evaluators, is_remote
from .formats import FORMATS, MASKS, find_format

_MODULE = "maxvit_dense.openmmlab.data.coco_dataset"
_SHARED = {"CocoDataset": "CocoFileDataset", "CocoMetric": "CocoFileMetric"}
_WANTED = {"train": ("train",), "val": ("val", "test"), "test": ("val", "test")}  # of the splits that are there


def point_to_coco(cfg: Config, root: str | os.PathLike, phases: Iterable[str]) -> None:
    """Have all data sets and evaluators read the annotation files that are found in ``root``.

    Nothing is done where the files that the config names are there, or where it reads no COCO files.

    Raises:
        InputError: ``find_coco`` refuses; a split that ``phases`` need is not there.
    """
    files = [(phase, path) for phase, _, path in coco_files(cfg, phases)]
    if not files or all(os.path.isfile(path) for _, path in files):
        return
    splits = {split.split: split for split in find_coco(root)}
    if not splits:
        _refuse_other_formats(Path(root))
        return  # the check says what is missing
    for phase, _ in files:
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
    for _, dataset, _ in coco_files(cfg, (phase,)):
        images = os.path.relpath(split.images, root)
        dataset.update(
            ann_file=str(split.path.relative_to(root)),
            data_prefix={**dataset.get("data_prefix", {}), "img": "" if images == "." else f"{images}/"},
        )
    for evaluator in evaluators(cfg, (phase,)):
        if "ann_file" in evaluator:
            evaluator["ann_file"] = str(split.path)


def read_through(cfg: Config, phases: Iterable[str], problem: str, **options: Any) -> None:
    """Have COCO data sets and metrics of ``phases`` read their files with ``options`` of ``CocoFileDataset``.

    Raises:
        InputError: ``problem``, and that some kind of them reads files in its own way.
    """
    for phase in tuple(phases):
        entries = [dataset for _, dataset, _ in coco_files(cfg, (phase,))]
        entries += [entry for entry in evaluators(cfg, (phase,)) if phase != "train" and entry.get("ann_file")]
        for entry in entries:
            kind = _bare(entry["type"])
            if kind not in {*_SHARED, *_SHARED.values()}:
                raise InputError(f"{problem}, and labels of {kind} follow the file. Write it as the model has it.")
            entry.update(options, type=_SHARED.get(kind, kind))
    importlib.import_module(_MODULE)
    import_in(cfg, _MODULE)


def share_files(cfg: Config, phases: Iterable[str]) -> None:
    """Have mmdet's own COCO data sets and metrics read what the checks read: one parse of each file a process."""
    phases, uses = tuple(phases), Counter()
    for phase, dataset, path in coco_files(cfg, PHASES):
        if _bare(dataset["type"]) in _SHARED and not dataset.get("backend_args") and os.path.isfile(path):
            dataset["type"] = _SHARED[_bare(dataset["type"])]
        uses[path] += phase in phases and dataset["type"] in _SHARED.values()
    for phase in PHASES:
        for evaluator in evaluators(cfg, (phase,)):
            path = evaluator.get("ann_file") or ""
            if _bare(evaluator["type"]) in _SHARED and os.path.isfile(path) and not is_remote(path):
                evaluator["type"] = _SHARED[_bare(evaluator["type"])]
            # Evaluators are built twice: to see whether they can be, and by the Runner.
            uses[path] += 2 * (phase in phases and evaluator["type"] in _SHARED.values())
    if uses.total():
        importlib.import_module(_MODULE)
        import_in(cfg, _MODULE)
    keep_annotations(uses)


def drop_unused_masks(cfg: Config) -> None:
    """Have a model without masks load none, so that its data need none; CopyPaste, which cuts them out, does."""
    if _takes_masks(cfg.model):
        return
    for _, dataset, _ in coco_files(cfg, PHASES):
        steps = dataset.get("pipeline", [])
        if any(_bare(step["type"]) == "CopyPaste" for step in steps):
            continue
        for step in steps:
            if step.get("with_mask"):
                step["with_mask"] = False


def _takes_masks(part: Any) -> bool:
    """Whether an entry of a model's config, beside its preprocessing, speaks of masks: mask_head, loss_mask, ..."""
    if isinstance(part, dict):
        names = [key for key, value in part.items() if value is not None and key != "data_preprocessor"]
        return any("mask" in key or _takes_masks(part[key]) for key in names)
    return isinstance(part, list | tuple) and any(map(_takes_masks, part))


def import_in(cfg: Config, module: str) -> None:
    """Name ``module`` in ``cfg``, so that a dumped config finds what it registers."""
    imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
    modules = [imports["imports"]] if isinstance(imports["imports"], str) else list(imports["imports"])
    cfg.custom_imports = dict(imports, imports=list(dict.fromkeys([*modules, module])))


def _bare(name: object) -> str:
    return str(name).rpartition(".")[2]  # mmdet.CocoDataset
