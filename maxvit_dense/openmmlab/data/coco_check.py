"""Reads a COCO annotation file the way training will, and says beforehand what would go wrong.

Needs numpy only. Finding faults (``inspect_coco``) is kept apart from judging them (``refuse_faults``).
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import InputError

BAD_BOX_CHOICES = ("refuse", "skip")
# Pixels. Rounding, and tools that count pixels from 1, put honest boxes up to one pixel past the border.
BORDER_TOLERANCE = 1.0
_EXAMPLES = 5

_LISTS = ("images", "annotations", "categories")
_IMAGE_KEYS = ("id", "file_name", "height", "width")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area")
_CATEGORY_KEYS = ("id", "name")
_KINDS = {key: int | str for key in ("id", "image_id", "category_id")} | {"file_name": str, "area": int | float}


@dataclass(frozen=True)
class Fault:
    """One kind of fault in an annotation file.

    Attributes:
        kind: a short name to tell kinds apart, e.g. "missing image".
        count: how often it occurs.
        text: what it is, in words that follow the count.
        examples: the first few places.
        remedy: what to do about it.
    """

    kind: str
    count: int
    text: str
    examples: tuple[str, ...]
    remedy: str

    def __str__(self) -> str:
        listed = ", ".join(self.examples)
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count} {self.text}: {listed}{more}. {self.remedy}"


def read_annotations(path: str) -> dict[str, Any]:
    """Load a COCO annotation file and check its outline.

    Raises:
        InputError: no such file; not JSON; without the three lists ``images``, ``annotations``,
            ``categories``; no images listed.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"There is no annotation file {path}. Check --data-root, or name the file with "
            "--cfg-options train_dataloader.dataset.ann_file=... (val_ and test_ likewise)."
        )
    try:
        with open(path, encoding="utf-8") as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{path} is broken JSON ({error}). Copy or export it again.") from error
    lists = content if isinstance(content, dict) else {}
    absent = [key for key in _LISTS if not isinstance(lists.get(key), list)]
    if absent:
        raise InputError(
            f"{path} is no COCO annotation file: it has no list {', '.join(absent)}. It needs "
            f"{', '.join(_LISTS)}; see cocodataset.org/#format-data."
        )
    if not content["images"]:
        raise InputError(f"{path} lists no images. Export it again, or name another annotation file.")
    return content


def category_names(path: str) -> tuple[str, ...]:
    """Class names of a COCO annotation file, in the order of its labels.

    Raises:
        InputError: as ``read_annotations``; no categories, one without a name, or one named twice.
    """
    categories = read_annotations(path)["categories"]
    names = tuple(category.get("name") for category in categories if isinstance(category, dict))
    if not names or len(names) < len(categories) or not all(isinstance(name, str) and name.strip() for name in names):
        raise InputError(f"{path} has no list of categories with a name each, so there are no classes to train on.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} names a category twice: {', '.join(twice)}. Give each its own name, or merge them.")
    return names


def inspect_coco(
    content: dict[str, Any],
    image_dir: str,
    classes: Sequence[str],
    masks: bool = False,
    evaluated: bool = False,
) -> list[Fault]:
    """Find every fault of an annotation file that training or evaluation would trip over.

    Args:
        content: what ``read_annotations`` returned.
        image_dir: folder that the images' ``file_name`` is relative to.
        classes: class names of the config, in the order of its labels.
        masks: instance masks are used.
        evaluated: the file is ground truth of an evaluation, which reads ``iscrowd`` too.

    Returns:
        Faults, at most one of each kind; empty if there are none.
    """
    images, annotations, categories = (content[key] for key in _LISTS)
    required = _ANNOTATION_KEYS + (("iscrowd",) if evaluated else ())
    broken = [
        *_broken_records(images, _IMAGE_KEYS, "image"),
        *_broken_records(annotations, required, "annotation"),
        *_broken_records(categories, _CATEGORY_KEYS, "category"),
    ]
    if broken:
        return broken  # the checks below read these entries
    found = [
        *_category_faults(categories, classes),
        *_repeated(categories, "category"),
        *_repeated(images, "image"),
        *_repeated(annotations, "annotation"),
        *_dangling(images, annotations, categories),
        *_missing_images(images, image_dir),
        *_box_faults(images, annotations),
    ]
    if masks:
        unmasked = [str(a["id"]) for a in annotations if not a.get("segmentation")]
        remedy = "Add them, or train boxes only."
        found += _fault("no mask", "annotations without a segmentation", unmasked, remedy)
    return found


def refuse_faults(faults: Iterable[Fault], path: str, bad_boxes: str = "refuse") -> list[Fault]:
    """Raise one error for the faults that cannot be trained with.

    Args:
        faults: from ``inspect_coco``.
        path: the annotation file, for the message.
        bad_boxes: what to do about boxes outside their image, one of ``BAD_BOX_CHOICES``.

    Returns:
        The faults to tell the user of and go on: boxes that will be left out.

    Raises:
        InputError: all other faults, one a line.
    """
    tolerated = {"empty box"} | ({"box outside"} if bad_boxes == "skip" else set())
    faults = list(faults)
    refused = [fault for fault in faults if fault.kind not in tolerated]
    if refused:
        lines = "".join(f"\n  - {fault}" for fault in refused)
        raise InputError(f"{path} cannot be used:{lines}")
    return faults


def reaches_outside(boxes: np.ndarray, width: Any, height: Any) -> np.ndarray:
    """Which boxes leave their image by more than the tolerance.

    Args:
        boxes: (n, 4) corners x1, y1, x2, y2 in pixels.
        width: of the image in pixels, or (n,) of each box's image.
        height: likewise.

    Returns:
        (n,) booleans; a box with a coordinate that is no finite number counts as outside.
    """
    low = np.minimum(boxes[:, 0], boxes[:, 1]) >= -BORDER_TOLERANCE
    high = (boxes[:, 2] <= width + BORDER_TOLERANCE) & (boxes[:, 3] <= height + BORDER_TOLERANCE)
    return ~(low & high & np.isfinite(boxes).all(axis=1))


def _fault(kind: str, text: str, places: Sequence[str], remedy: str) -> list[Fault]:
    return [Fault(kind, len(places), text, tuple(places[:_EXAMPLES]), remedy)] if places else []


def _broken_records(records: list, keys: Sequence[str], what: str) -> list[Fault]:
    places = []
    for index, record in enumerate(records):
        lacking = [key for key in keys if not isinstance(record, dict) or key not in record]
        if not lacking:
            lacking = [f"a usable {key}" for key in keys if not isinstance(record[key], _KINDS.get(key, object))]
        if not lacking and "bbox" in keys and not _is_box(record["bbox"]):
            lacking = ["bbox of four numbers"]
        if not lacking and "height" in keys and not _has_size(record):
            lacking = ["height and width above 0"]
        if lacking:
            places.append(f"entry {index} lacks {', '.join(lacking)}")
    return _fault(f"broken {what}", f"broken {what} entries", places, "Export the annotations again.")


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) for x in box)


def _has_size(image: dict) -> bool:
    return all(isinstance(image[key], int | float) and image[key] > 0 for key in ("height", "width"))


def _category_faults(categories: list, classes: Sequence[str]) -> list[Fault]:
    names = [category.get("name") for category in categories if isinstance(category, dict)]
    if names == list(classes):
        return []
    remedy = (
        f"The config has {len(classes)} classes: {_shortened(classes)}. Set "
        "train_dataloader.dataset.metainfo.classes (val_ and test_ likewise) to the names of the file, in "
        "its order, and every num_classes of the model to their number."
    )
    twice = [str(name) for name, count in Counter(names).items() if count > 1]
    unknown = [str(name) for name in names if name not in classes]
    absent = [str(name) for name in classes if name not in names]
    # Labels are numbered by the file's order and named by the config's, so both must be the same list.
    same_names = not (unknown or absent or twice)
    pairs = zip(names, classes, strict=True) if same_names else ()
    moved = [f"{theirs} is where the config has {ours}" for theirs, ours in pairs if theirs != ours]
    return [
        *_fault("repeated category", "categories named twice", twice, "Give each its own name."),
        *_fault("unknown category", "categories that the config does not know", unknown, remedy),
        *_fault("absent category", "classes of the config that the file does not have", absent, remedy),
        *_fault("category order", "categories in another order than the config's", moved, remedy),
    ]


def _shortened(names: Sequence[str]) -> str:
    return ", ".join(names[:_EXAMPLES]) + (", ..." if len(names) > _EXAMPLES else "")


def _repeated(records: list[dict], what: str) -> list[Fault]:
    counts = Counter(record["id"] for record in records)
    places = [str(key) for key, count in counts.items() if count > 1]
    return _fault(f"repeated {what}", f"{what} ids that occur twice", places, "Ids must be unique.")


def _dangling(images: list[dict], annotations: list[dict], categories: list[dict]) -> list[Fault]:
    image_ids = {image["id"] for image in images}
    category_ids = {category.get("id") for category in categories}
    places = [
        str(a["id"]) for a in annotations if a["image_id"] not in image_ids or a["category_id"] not in category_ids
    ]
    text = "annotations of an image or a category that is not listed"
    return _fault("dangling annotation", text, places, "Remove them or list what they refer to.")


def absent_files(paths: Iterable[str]) -> list[str]:
    """Which of many files do not exist; by one listing of each folder.

    Asking for each of COCO's 118,000 files takes minutes on a network disk.
    """
    by_folder = defaultdict(list)
    for path in paths:
        by_folder[os.path.dirname(path)].append(path)
    absent = []
    for folder, wanted in by_folder.items():
        present = _names_in(folder)
        absent += [path for path in wanted if os.path.basename(path) not in present]
    return absent


def _missing_images(images: list[dict], image_dir: str) -> list[Fault]:
    names = {os.path.join(image_dir, image["file_name"]): image["file_name"] for image in images}
    places = [names[path] for path in absent_files(names)]
    text = f"of {len(images)} images do not exist in {image_dir}"
    return _fault("missing image", text, places, "Put them there, or remove them from the file.")


def _names_in(folder: str) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def _box_faults(images: list[dict], annotations: list[dict]) -> list[Fault]:
    if not annotations:
        return []
    by_id = {image["id"]: image for image in images}
    known = [a for a in annotations if a["image_id"] in by_id]
    boxes = np.array([a["bbox"] for a in known], dtype=np.float64).reshape(-1, 4)
    sizes = np.array([(by_id[a["image_id"]]["width"], by_id[a["image_id"]]["height"]) for a in known])
    sizes = sizes.reshape(-1, 2)
    areas = np.array([a["area"] for a in known], dtype=np.float64)
    empty = (boxes[:, 2] < 1) | (boxes[:, 3] < 1) | (areas <= 0)
    corners = np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], axis=1)
    outside = reaches_outside(corners, sizes[:, 0], sizes[:, 1]) & ~empty

    def places(chosen: np.ndarray) -> list[str]:
        return [_place(known[index], by_id) for index in np.flatnonzero(chosen)]

    return [
        *_fault(
            "box outside",
            "boxes reach outside their image",
            places(outside),
            "Correct them, or leave them out of training with --bad-boxes skip.",
        ),
        # mmdet leaves these out by itself, and COCO's own train2017 has two: no reason to refuse a file.
        *_fault(
            "empty box",
            "boxes less than a pixel wide or high, or without area",
            places(empty),
            "Training leaves them out.",
        ),
    ]


def _place(annotation: dict, images: dict) -> str:
    image = images[annotation["image_id"]]
    box = ", ".join(f"{x:g}" for x in annotation["bbox"])
    size = f"{image['width']}x{image['height']}"
    return f"[{box}] in {image['file_name']} ({size}, annotation {annotation['id']})"
