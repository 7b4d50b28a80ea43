"""One's own classes: reads them from COCO annotation files and sizes a config's data sets and heads by them."""

import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmdet.visualization.palette import get_palette
from mmengine.config import Config, ConfigDict

from ..errors import InputError
from .coco_check import category_names
from .datasets import PHASES, class_names, coco_files, phase_datasets

_SHOWN = 10
# Parts of a detector that hold no classes of the data: proposals are objects or not, stuff has its own labels.
_OTHER_HEADS = ("rpn_head", "semantic_head")

_logger = logging.getLogger(__name__)


def adopt_classes(cfg: Config, phases: Iterable[str], overrides: Mapping[str, Any] | None = None) -> None:
    """Give ``cfg`` the classes of its annotation files, where they differ from its own.

    Sets class names and palette of every data set, and every class count of the model's heads. Nothing is done
    for data sets of other kinds than COCO's, nor where ``overrides`` give classes or their number by hand.

    Args:
        cfg: whose data sets lie where they will be read from.
        phases: whose annotation files are read; the classes are set for all phases, so that a config dumped
            in training can be tested later.
        overrides: config entries of the command line, by dotted name.

    Raises:
        InputError: a file that cannot be read, without categories, or with one named twice; files whose
            categories differ; class weights of the config that are a matter of its own classes.
    """
    files = [path for _, _, path in coco_files(cfg, phases)]
    if not files or any(key.endswith(("classes", "metainfo")) for key in overrides or {}):
        return
    names = _common_names(dict.fromkeys(files))
    old = class_names(cfg, phases)
    if all(tuple(classes) == names for classes in old):
        return
    for _, dataset in phase_datasets(cfg, PHASES):
        dataset["metainfo"] = dict(classes=names, palette=get_palette("random", len(names)))
    resized = _size_heads(cfg.model, len(names))
    shown = ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
    _logger.info(
        "%d classes from %s in place of the config's %d: %s. Sized by them: %s.",
        len(names),
        files[0],
        len(old[0]),
        shown,
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
            f"{', '.join(differing[:_SHOWN]) or 'they stand in another order'}. "
            "Give both files the same categories in the same order."
        )
    return names


def _size_heads(model: ConfigDict, count: int) -> list[str]:
    """Set every class count of a model's heads; the names of those that held one."""
    resized = []
    for name, part in _head_parts(model):
        before = len(resized)
        for key, value in (("num_classes", count), ("num_things_classes", count), ("num_stuff_classes", 0)):
            if key in part:
                part[key] = value
                resized[before:] = [name]
        if isinstance(part.get("class_weight"), list | tuple):
            part["class_weight"] = _resized_weights(part["class_weight"], count, name)
    return resized


def _head_parts(part: Any, name: str = "", in_head: bool = False) -> Iterator[tuple[str, ConfigDict]]:
    """All entries of a model's config that belong to a head of classes, with their dotted names."""
    if isinstance(part, list | tuple):
        for index, item in enumerate(part):
            yield from _head_parts(item, f"{name}[{index}]", in_head)
    if not isinstance(part, dict):
        return
    if in_head:
        yield name, part
    for key, value in part.items():
        if key not in _OTHER_HEADS:
            yield from _head_parts(value, f"{name}.{key}".lstrip("."), in_head or key.endswith("head"))


def _resized_weights(weights: list[float], count: int, name: str) -> list[float]:
    """Loss weights of ``count`` classes and the background, which stands last, from those of another number."""
    *classes, background = weights
    if len(weights) == count + 1:
        return list(weights)
    if len(set(classes)) != 1:
        raise InputError(
            f"model.{name}.class_weight weighs {len(classes)} classes one by one, and the data has {count}. Give "
            f"{count} weights and that of the background with --cfg-options, and the classes with them: "
            "train_dataloader.dataset.metainfo.classes=... (val_ and test_ likewise), num_classes=..."
        )
    return [classes[0]] * count + [background]
