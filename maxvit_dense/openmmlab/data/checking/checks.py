"""What is wrong with the data sets of a config, seen before anything is written: faults, stage by stage."""

import logging
import os
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from mmengine.config import Config

from ....errors import InputError
from ..data_set import DataSet, coco_sets, data_sets, evaluators, is_remote
from ..faults import Fault, found
from ..image_check import read_images, read_many
from ..layouts.coco_check import chosen_annotations, inspect_coco, misplaced
from ..layouts.coco_file import UNANNOTATED, read_annotations
from ..layouts.mask_files import Labels, mask_faults, read_mask
from ..layouts.mask_folders import IGNORED_LABEL
from .pixel_check import reads_as_usual

# Files a data set. Two cores take 0.1 ms for an image's header and 2 ms for a mask of 683x512 pixels.
MOST_IMAGES, MOST_MASKS = 5000, 1000
_SEED = 0
_Stage = tuple[str, list[Fault]]  # of what, and what is wrong with it

_logger = logging.getLogger(__name__)
T = TypeVar("T")


def faults_of(data: DataSet, clipped: float, predicted: bool = False) -> Iterator[_Stage]:
    """Faults of a data set; each stage is looked for when those before it have passed.

    Args:
        data: to look into; one of another machine, or of a kind that is not known, has none.
        clipped: share of a box that may lie outside its image.
        predicted: predictions are wanted and nothing else, so that annotations may be missing.

    Raises:
        InputError: there is no such root; a file cannot be read.
    """
    if not data.is_local:
        return
    if data.root and not os.path.isdir(data.root):
        raise InputError(
            f"There is no data root {data.root} (it should hold what the {data.phase} set of the config names). "
            "Give the folder with --data-root DIR."
        )
    if data.is_coco:
        yield from _coco_faults(data, clipped, predicted)
    elif data.is_masks:
        yield from _mask_faults(data)


def _coco_faults(data: DataSet, clipped: float, predicted: bool) -> Iterator[_Stage]:
    path, training = data.annotations, data.phase == "train"
    content = chosen_annotations(path, data.entry.get("categories"), data.entry.get("boxes_as_masks", False))
    if content.get(UNANNOTATED) and not predicted:
        yield path, found({"unannotated": [os.path.basename(path)]})
    faults = inspect_coco(
        content,
        image_dir=data.images,
        classes=data.classes,
        masks=any(step.get("with_mask", False) for step in data.pipeline),
        evaluated=not training,
        clipped=clipped,
        filtered=(data.entry.get("filter_cfg") or {}) if training else None,
    )
    yield path, faults
    _logger.info("%s: %d images, %d boxes", path, len(content["images"]), len(content["annotations"]))
    if reads_as_usual(data.pipeline):
        sizes = {image["file_name"]: (image["width"], image["height"]) for image in content["images"]}
        yield path, header_faults({os.path.join(data.images, name): size for name, size in sizes.items()})


def _mask_faults(data: DataSet) -> Iterator[_Stage]:
    reader = data.unlisted()
    folder = str(reader.data_prefix.get("img_path") or reader.data_root)
    try:
        records = reader.load_data_list()
    except (OSError, AssertionError) as error:
        raise InputError(
            f"The {data.phase} set of the config cannot be read ({error}). Its data root, as of --data-root, needs the "
            "folders that the config names, or images/ beside masks/ or annotations/ (docs/own_data.md)."
        ) from error
    images = [record["img_path"] for record in records]
    yield folder, found({"empty split": [] if images else [f"{folder}, of the {data.phase} set"]})
    masks = [(record["img_path"], record["seg_map_path"]) for record in records if record.get("seg_map_path")]
    absent, outside = misplaced(images, folder)
    unmasked, _ = misplaced((mask for _, mask in masks), folder)
    yield folder, found({"outside image": outside, "absent image": absent, "missing mask": unmasked})
    if reads_as_usual(data.pipeline):
        yield folder, header_faults(dict.fromkeys(images))
        if masks and reader.metainfo.get("classes"):
            yield folder, pixel_faults(masks, _labels(reader, records), int(reader.reduce_zero_label), folder)


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


def header_faults(images: Mapping[str, tuple[int, int] | None]) -> list[Fault]:
    """Fatal faults that the headers of images show, of ``MOST_IMAGES`` at most, drawn the same way each time.

    Args:
        images: (width, height) that the annotations give, or None, by path.
    """
    _, faults = read_images({path: images[path] for path in _drawn(list(images), MOST_IMAGES)})
    return [fault for fault in faults if fault.fatal]


def pixel_faults(pairs: Sequence[tuple[str, str]], labels: Labels, first: int, what: str) -> list[Fault]:
    """Fatal faults that the pixels of masks show, of ``MOST_MASKS`` at most, drawn the same way each time.

    Args:
        pairs: paths of an image and its mask.
        labels: what their values mean.
        first: the value that classes count from where no list says it.
        what: they belong to, for the log.
    """
    drawn = _drawn(pairs, MOST_MASKS)
    images, _ = read_images(dict.fromkeys(image for image, _ in drawn))
    masks = read_many(read_mask, [mask for _, mask in drawn])
    named = [(os.path.basename(path), mask, images[image]) for (image, path), mask in zip(drawn, masks, strict=True)]
    faults = mask_faults(named, labels, first)
    empty = [place for fault in faults if fault.kind == "empty mask" for place in fault.places]
    faults += found({"only empty masks": empty if len(empty) == len(drawn) else ()})
    _logger.info("%s: %d images with masks, %d looked into", what, len(pairs), len(drawn))
    return [fault for fault in faults if fault.fatal]


def _drawn(items: Sequence[T], most: int) -> list[T]:
    return list(items) if len(items) <= most else random.Random(_SEED).sample(items, most)


def check_evaluators(cfg: Config, phases: Iterable[str]) -> None:
    """
    Raises:
        InputError: an annotation file of an evaluator that is not there.
    """
    for evaluator in evaluators(cfg, phases):
        file = evaluator.get("ann_file") or ""
        if file and not is_remote(file) and not os.path.isfile(file):
            raise InputError(
                f"There is no annotation file {file} for {evaluator['type']}. Check --data-root, or set "
                "val_evaluator.ann_file and test_evaluator.ann_file with --cfg-options."
            )


def files_read(cfg: Config, phase: str) -> tuple[list[str], list[str]]:
    """Paths of the images, and of the masks, that a phase reads by data sets of mmdet or mmseg on this machine."""
    images, masks = [], []
    for data in coco_sets(cfg, (phase,)):
        names = [image["file_name"] for image in read_annotations(data.annotations)["images"]]
        images += [os.path.join(data.images, name) for name in names]
    for data in data_sets(cfg, (phase,)):
        if data.is_masks and data.is_local:
            records = data.unlisted().load_data_list()
            images += [record["img_path"] for record in records]
            masks += [record["seg_map_path"] for record in records if record.get("seg_map_path")]
    return images, masks
