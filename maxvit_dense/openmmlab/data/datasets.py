"""The data sets of a config: where their files lie, whether they can be used, which boxes are left out."""

import copy
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.config import Config, ConfigDict
from mmengine.registry import DATASETS, TRANSFORMS

from ...errors import InputError
from .coco_check import CLIPPED_SHARE, absent_files, chosen_annotations, inspect_coco, share_outside, training_faults
from .coco_file import UNANNOTATED, read_annotations
from .faults import found, refuse
from .mask_data import Labels
from .mask_layouts import IGNORED_LABEL
from .pixel_check import add_check, check_images, check_masks, reads_as_usual

COUNTED: list[tuple[ConfigDict, Any]] = []  # of ``training_set``
PHASES = ("train", "val", "test")
_COCO_LOADER = "mmdet.datasets.coco"

_logger = logging.getLogger(__name__)


@TRANSFORMS.register_module()
class DropOutsideBoxes(BaseTransform):
    """Leave out annotated instances whose box reaches outside the image (``--bad-boxes skip``).

    Stands first in a pipeline: it needs only what the data set read from the annotation file.

    Args:
        clipped: share of a box that may lie outside: the pipeline clips it.
    """

    def __init__(self, clipped: float = CLIPPED_SHARE):
        self.clipped = clipped

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter ``results["instances"]`` by their ``bbox`` (x1, y1, x2, y2 in pixels)."""
        instances = results.get("instances", [])
        boxes = np.array([item["bbox"] for item in instances], dtype=np.float64).reshape(-1, 4)
        outside = ~(share_outside(boxes, results["width"], results["height"]) <= self.clipped)
        kept = [item for item, out in zip(instances, outside, strict=True) if not out]
        return {**results, "instances": kept}


def leaf_datasets(dataset: ConfigDict) -> Iterator[ConfigDict]:
    """The data sets that read files, inside any nesting of wrappers (RepeatDataset, ConcatDataset, ...)."""
    inner = [dataset["dataset"]] if "dataset" in dataset else dataset.get("datasets", [])
    if not inner:
        yield dataset
    for item in inner:
        yield from leaf_datasets(item)


def phase_datasets(cfg: Config, phases: Iterable[str]) -> Iterator[tuple[str, ConfigDict]]:
    """Each phase of ``phases`` with each data set that it reads files from."""
    for phase in phases:
        loader = cfg.get(f"{phase}_dataloader")
        if loader:
            for dataset in leaf_datasets(loader["dataset"]):
                yield phase, dataset


def class_names(cfg: Config, phases: Iterable[str]) -> list[tuple[str, ...]]:
    """The classes of each data set of ``phases``: the config's, else those of the data set's type."""
    found = []
    for _, dataset in phase_datasets(cfg, phases):
        dataset_class = dataset_type(dataset["type"], cfg.get("default_scope"))
        found.append(tuple(dataset_class._load_metainfo(dataset.get("metainfo")).get("classes", ())))
    return found


def training_set(entry: ConfigDict, counted: bool = False) -> Any:
    """Build a data set, or take the one that was built to be counted: COCO's takes half a minute.

    Args:
        entry: of a config.
        counted: keep it for the next who asks for the same.
    """
    kept = [dataset for own, dataset in COUNTED if own == entry]
    COUNTED.clear()
    dataset = kept[0] if kept else DATASETS.build(entry)
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    COUNTED.extend([(copy.deepcopy(entry), dataset)] if counted else [])
    return dataset


def coco_files(cfg: Config, phases: Iterable[str]) -> Iterator[tuple[str, ConfigDict, str]]:
    """Each phase and data set of ``phases`` that reads a COCO annotation file of this machine, with its path."""
    for phase, dataset in phase_datasets(cfg, phases):
        path = _joined(dataset, dataset.get("ann_file", ""))
        dataset_class = dataset_type(dataset["type"], cfg.get("default_scope"))
        if dataset_class.load_data_list.__module__ == _COCO_LOADER and not is_remote(path):
            yield phase, dataset, path


def files_read(cfg: Config, phase: str) -> tuple[list[str], list[str]]:
    """Paths of the images, and of the masks, that a phase reads by data sets of mmdet or mmseg on this machine."""
    images, masks = [], []
    for _, dataset, path in coco_files(cfg, (phase,)):
        folder = _joined(dataset, dataset.get("data_prefix", {}).get("img", ""))
        images += [os.path.join(folder, image["file_name"]) for image in read_annotations(path)["images"]]
    for _, dataset in phase_datasets(cfg, (phase,)):
        dataset_class = dataset_type(dataset["type"], cfg.get("default_scope"))
        if is_segmentation(dataset_class) and not is_remote(dataset.get("data_root") or ""):
            records = _reader(dataset, dataset_class, phase).load_data_list()
            images += [record["img_path"] for record in records]
            masks += [record["seg_map_path"] for record in records if record.get("seg_map_path")]
    return images, masks


def check_datasets(
    cfg: Config,
    phases: Iterable[str],
    bad_boxes: str = "refuse",
    clipped: float = CLIPPED_SHARE,
    predicted: bool = False,
) -> None:
    """Check the files that the data sets and evaluators of ``phases`` will read, before anything is written.

    With ``bad_boxes="skip"`` the training pipelines of ``cfg`` get a step that leaves such boxes out.
    Evaluation keeps the ground truth as its file has it, so that figures stay comparable. All pipelines get one
    that refuses an image or a mask that does not fit, since only a part of a large data set is looked into here. Files
    without annotations pass where nothing but predictions is wanted (``predicted``).

    Raises:
        InputError: a root, an annotation file, an image or a folder that is not there; annotations or masks that
            training would trip over (see ``coco_check``, ``mask_check``); images that cannot be used
            (``image_check``).
    """
    phases = tuple(phases)
    for phase, dataset in phase_datasets(cfg, phases):
        root = dataset.get("data_root") or ""
        if is_remote(root) or is_remote(dataset.get("ann_file", "")):
            continue
        if root and not os.path.isdir(root):
            raise InputError(
                f"There is no data root {root} (it should hold what the {phase} set of the config names). "
                "Give the folder with --data-root DIR."
            )
        dataset_class = dataset_type(dataset["type"], cfg.get("default_scope"))
        if dataset_class.load_data_list.__module__ == _COCO_LOADER:
            _check_coco(dataset, dataset_class, phase, bad_boxes, clipped, predicted)
        elif is_segmentation(dataset_class):
            _check_segmentation(dataset, dataset_class, phase)
    for evaluator in evaluators(cfg, phases):
        file = evaluator.get("ann_file") or ""
        if file and not is_remote(file) and not os.path.isfile(file):
            raise InputError(
                f"There is no annotation file {file} for {evaluator['type']}. Check --data-root, or set "
                "val_evaluator.ann_file and test_evaluator.ann_file with --cfg-options."
            )


def _check_coco(
    dataset: ConfigDict, dataset_class: type, phase: str, bad_boxes: str, clipped: float, predicted: bool
) -> None:
    training = phase == "train"
    path, prefix = _joined(dataset, dataset.get("ann_file", "")), dataset.get("data_prefix", {}).get("img", "")
    content = chosen_annotations(path, dataset.get("categories"), dataset.get("boxes_as_masks", False))
    faults = inspect_coco(
        content,
        image_dir=_joined(dataset, prefix),
        classes=dataset_class._load_metainfo(dataset.get("metainfo")).get("classes", ()),
        masks=any(step.get("with_mask", False) for step in dataset.get("pipeline", [])),
        evaluated=not training,
        clipped=clipped,
    )
    if content.get(UNANNOTATED) and not predicted:
        refuse(found({"unannotated": [os.path.basename(path)]}), path)
    refuse((fault for fault in faults if (bad_boxes, fault.kind) != ("skip", "box outside")), path)
    if training:
        faults += training_faults(content, faults, dataset.get("filter_cfg"))
        refuse((fault for fault in faults if fault.kind == "nothing left"), path)
    _logger.info("%s: %d images, %d boxes", path, len(content["images"]), len(content["annotations"]))
    for fault in faults:
        _logger.warning("%s: %s", path, fault)
    if reads_as_usual(dataset.get("pipeline", [])):
        images = ((_joined(dataset, os.path.join(prefix, image["file_name"])), image) for image in content["images"])
        check_images({file: (image["width"], image["height"]) for file, image in images}, path)
        dataset["pipeline"] = add_check(dataset["pipeline"])
    if training and any(fault.kind == "box outside" for fault in faults):
        dataset["pipeline"] = [dict(type="DropOutsideBoxes", clipped=clipped), *dataset["pipeline"]]


def _check_segmentation(dataset: ConfigDict, dataset_class: type, phase: str) -> None:
    reader = _reader(dataset, dataset_class, phase)
    folder = reader.data_prefix.get("img_path") or reader.data_root
    try:
        records = reader.load_data_list()
    except (OSError, AssertionError) as error:
        raise InputError(
            f"The {phase} set of the config cannot be read ({error}). Its data root, as of --data-root, needs the "
            "folders that the config names, or images/ beside masks/ or annotations/ (docs/own_data.md)."
        ) from error
    images, pipeline = [record["img_path"] for record in records], dataset.get("pipeline", [])
    refuse(found({"empty split": [] if images else [f"{folder}, of the {phase} set"]}), folder)
    absent = absent_files(images)
    masks = [(record["img_path"], record["seg_map_path"]) for record in records if record.get("seg_map_path")]
    unmasked = absent_files(mask for _, mask in masks)
    refuse(found({"absent image": absent, "missing mask": unmasked}), folder)
    if reads_as_usual(pipeline):
        check_images(dict.fromkeys(images), str(folder))
        classes = len(reader.metainfo.get("classes", ()))
        if masks and classes:
            check_masks(masks, _labels(reader, records), int(reader.reduce_zero_label), str(folder))
            dataset["pipeline"] = add_check(pipeline, classes)


def _reader(dataset: ConfigDict, dataset_class: type, phase: str) -> Any:
    """An mmseg data set that has not listed its files yet."""
    arguments = {key: value for key, value in dataset.items() if key not in ("type", "pipeline", "lazy_init")}
    try:
        return dataset_class(**arguments, pipeline=[], lazy_init=True)
    except (TypeError, ValueError, AssertionError) as error:
        raise InputError(f"The {phase} set of the config, {dataset_class.__name__}, cannot be made: {error}") from error


def _labels(reader: Any, records: list[dict[str, Any]]) -> Labels:
    """What values in the masks of a data set mean by mmseg's loader."""
    values = np.arange(256)
    if reader.reduce_zero_label:
        values = np.where((values == 0) | (values == IGNORED_LABEL), IGNORED_LABEL, values - 1)
    moved, names = records[0].get("label_map") or {}, reader.metainfo["classes"]
    label = [moved.get(int(value), int(value)) for value in values]
    by_label = sorted((number, value) for value, number in enumerate(label) if number < len(names))
    named = {value: names[number] for number, value in by_label}
    return Labels(named, frozenset(value for value, number in enumerate(label) if number == IGNORED_LABEL))


def is_segmentation(dataset_class: type) -> bool:
    """Whether it is a data set of mmseg's, which is not imported for this: it has been where there is one."""
    module = sys.modules.get("mmseg.datasets")
    return module is not None and issubclass(dataset_class, module.BaseSegDataset)


def dataset_type(name: Any, scope: str | None) -> type:
    with DATASETS.switch_scope_and_registry(scope) as registry:
        found = name if isinstance(name, type) else registry.get(name)
    if found is None:
        raise InputError(
            f"The config asks for a data set of type {name}, which is not registered. Check its spelling, "
            "or import the module that defines it with custom_imports."
        )
    return found


def evaluators(cfg: Config, phases: Iterable[str]) -> Iterator[ConfigDict]:
    """Each evaluator of ``phases``."""
    for phase in phases:
        evaluator = cfg.get(f"{phase}_evaluator") or []
        yield from [evaluator] if isinstance(evaluator, dict) else evaluator


def _joined(dataset: ConfigDict, path: str) -> str:
    return os.path.join(dataset.get("data_root") or "", path)


def is_remote(path: str) -> bool:
    return "://" in path
