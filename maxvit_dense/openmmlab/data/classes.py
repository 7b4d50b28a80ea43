"""One's own classes: reads them from annotation files and sizes a config's data sets and heads by them."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from mmdet.visualization.palette import get_palette
from mmengine.config import Config

from ...errors import InputError
from .coco_check import category_names
from .datasets import PHASES, class_names, coco_files, dataset_type, is_segmentation, phase_datasets
from .heads import size_heads
from .mask_classes import adopt_masks

_SHOWN = 10

_logger = logging.getLogger(__name__)


def adopt_classes(
    cfg: Config,
    phases: Iterable[str],
    overrides: Mapping[str, Any] | None = None,
    class_file: str | os.PathLike | None = None,
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
        class_file: list of the classes of masks (see ``mask_data.class_values``).

    Raises:
        InputError: a file that cannot be read, without categories, or with one named twice; files whose
            categories differ; class weights of the config that are a matter of its own classes; masks that
            ``adopt_masks`` refuses; ``class_file`` with classes given by hand, or for files that name theirs.
    """
    by_hand = [key for key in overrides or {} if key.endswith(("classes", "metainfo"))]
    segmentation = any(
        is_segmentation(dataset_type(d["type"], cfg.get("default_scope"))) for _, d in phase_datasets(cfg, PHASES)
    )
    if class_file and (by_hand or not segmentation):
        reason = f"--cfg-options {by_hand[0]} gives them" if by_hand else "the annotation files name theirs"
        raise InputError(f"--classes lists the classes of masks, but {reason}. Leave it out.")
    if by_hand:
        return
    if segmentation:
        adopt_masks(cfg, class_file)
        return
    files = [path for _, _, path in coco_files(cfg, phases)]
    if not files:
        return
    names = _common_names(dict.fromkeys(files))
    old = class_names(cfg, phases)
    if all(tuple(classes) == names for classes in old):
        return
    for _, dataset in phase_datasets(cfg, PHASES):
        dataset["metainfo"] = dict(classes=names, palette=get_palette("random", len(names)))
    resized = size_heads(cfg.model, len(names), len(old[0]))
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
