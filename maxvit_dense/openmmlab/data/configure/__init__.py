"""Everything that one's own data changes in a config: root, classes, heads and checks, in one call."""

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from ....errors import InputError
from ..checking.checks import check_evaluators, faults_of
from ..checking.pixel_check import add_check, reads_as_usual
from ..choice import EVERYTHING, Choice
from ..data_set import PHASES, coco_sets, data_sets, evaluators
from ..draws import COUNTED
from ..faults import refuse
from ..layouts.coco_check import CLIPPED_SHARE
from ..layouts.coco_file import keep_annotations
from .classes import prepare_classification
from .coco import adopt_categories, drop_unused_masks, keep_class_order, point_to_coco, share_files
from .heads import check_batch
from .masks import adopt_masks
from .samples import draw_missing_samples

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
        InputError: as ``replace_data_root``, ``draw_missing_samples``, ``adopt_classes``, ``check_data`` and
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
        check_data(cfg, phases, bad_boxes, clipped, predicted)
        share_files(cfg, phases)
    except BaseException:
        keep_annotations()
        raise
    prepare_classification(cfg, phases, overrides, checkpoint)


def check_data(
    cfg: Config,
    phases: Sequence[str],
    bad_boxes: str = "refuse",
    clipped: float = CLIPPED_SHARE,
    predicted: bool = False,
) -> None:
    """Check the files that the data sets and evaluators of ``phases`` will read; arguments as of ``configure_data``.

    With ``bad_boxes="skip"`` the training pipelines of ``cfg`` get a step that leaves such boxes out.
    Evaluation keeps the ground truth as its file has it, so that figures stay comparable. All pipelines get one
    that refuses an image or a mask that does not fit, since only a part of a large data set is looked into here.

    Raises:
        InputError: what ``checks`` finds, of kinds that are fatal.
    """
    for data in data_sets(cfg, phases):
        outside = False
        for what, faults in faults_of(data, clipped, predicted):
            refuse((fault for fault in faults if (bad_boxes, fault.kind) != ("skip", "box outside")), what)
            outside |= any(fault.kind == "box outside" for fault in faults)
            for fault in faults:
                _logger.warning("%s: %s", what, fault)
        if data.is_local and (data.is_coco or data.is_masks) and reads_as_usual(data.pipeline):
            classes = len(data.classes) if data.is_masks else 0
            data.entry["pipeline"] = add_check(data.pipeline, classes or None)
        if outside and data.phase == "train":
            data.entry["pipeline"] = [dict(type="DropOutsideBoxes", clipped=clipped), *data.pipeline]
    check_evaluators(cfg, phases)


def replace_data_root(cfg: Config, data_root: str) -> None:
    """Point every data set and evaluator of ``cfg`` to another folder of the same layout.

    Raises:
        InputError: the data sets of the config lie under several roots, so that one cannot stand for all.
    """
    roots = {data.root for data in data_sets(cfg, PHASES)}
    if len(roots) > 1:
        raise InputError(
            f"--data-root stands for one folder, but the config's data sets lie under {len(roots)}: "
            f"{', '.join(sorted(roots))}. Set each with --cfg-options, for example "
            "train_dataloader.dataset.data_root=... ."
        )
    old = roots.pop() if roots else ""
    for data in data_sets(cfg, PHASES):
        data.entry["data_root"] = data_root
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
    if any(data.is_masks for data in data_sets(cfg, PHASES)):
        if choice.boxes_as_masks:
            raise InputError("--boxes-as-masks is about annotated boxes, and this config reads masks. Leave it out.")
        if not by_hand:
            adopt_masks(cfg, choice)
        return
    if choice.void:
        raise InputError("--void lists values of masks, and this config reads none. Leave it out.")
    files = list(dict.fromkeys(data.annotations for data in coco_sets(cfg, phases)))
    if files:
        adopt_categories(cfg, phases, files, choice, bool(by_hand))
    elif choice != EVERYTHING:
        raise InputError("--classes, --rename and --boxes-as-masks are about COCO's boxes or masks. Leave it out.")


def _lies_under(path: str, root: str) -> bool:
    return os.path.normpath(path).startswith(os.path.join(os.path.normpath(root), "")) and bool(root)
