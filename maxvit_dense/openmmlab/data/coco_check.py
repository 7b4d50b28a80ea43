"""Reads a COCO annotation file the way training will, and says beforehand what would go wrong. Needs numpy only."""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from ...errors import InputError, listed
from .faults import Fault, found

# Pixels. Rounding, and tools that count pixels from 1, put honest boxes up to one pixel past the border.
BORDER_TOLERANCE = 1.0
_FILES = 8  # annotation files whose content is kept while a config is prepared

_LISTS = ("images", "annotations", "categories")
_IMAGE_KEYS = ("id", "file_name", "height", "width")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area")
_CATEGORY_KEYS = ("id", "name")
_KINDS = {key: int | str for key in ("id", "image_id", "category_id")} | {"file_name": str, "area": int | float}


def read_annotations(path: str) -> dict[str, Any]:
    """Content of a COCO annotation file of sound outline; parsed once, until it changes or ``forget_annotations``.

    Nobody may change what is returned: others are given the same.

    Raises:
        InputError: no such file; not JSON; without the three lists ``images``, ``annotations``,
            ``categories``; no images listed.
    """
    if not os.path.isfile(path):
        raise InputError(
            f"There is no annotation file {path}. Check --data-root, or name the file with "
            "--cfg-options train_dataloader.dataset.ann_file=... (val_ and test_ likewise)."
        )
    state = os.stat(path)
    return _parse(path, os.path.realpath(path), state.st_mtime_ns, state.st_size)


def forget_annotations() -> None:
    """Free what ``read_annotations`` keeps: COCO's takes 4 GB, and no training reads it again."""
    _parse.cache_clear()


@lru_cache(_FILES)
def _parse(path: str, *state: object) -> dict[str, Any]:
    """``state`` tells versions of a file apart, for the cache."""
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
    broken = found(
        {
            "image entry": _broken_records(images, _IMAGE_KEYS),
            "annotation entry": _broken_records(annotations, required),
            "category entry": _broken_records(categories, _CATEGORY_KEYS),
        }
    )
    if broken:
        return broken  # the checks below read these entries
    unmasked = [str(a["id"]) for a in annotations if not a.get("segmentation")] if masks else []
    return [
        *_category_faults(categories, classes),
        *found(
            {
                "category id": _repeated(categories),
                "image id": _repeated(images),
                "annotation id": _repeated(annotations),
                "dangling annotation": _dangling(images, annotations, categories),
            }
        ),
        *found({"missing image": _missing_images(images, image_dir)}, total=len(images), folder=image_dir),
        *_box_faults(images, annotations),
        *found({"no segmentation": unmasked}),
    ]


def nothing_left(content: dict[str, Any], faults: Iterable[Fault]) -> list[Fault]:
    """The fault of a training file without an object beside those that are left out.

    Args:
        content: what ``read_annotations`` returned.
        faults: of ``inspect_coco``.
    """
    left_out = sum(fault.count for fault in faults if fault.kind in ("box outside", "empty box"))
    boxes = len(content["annotations"])
    return found({"nothing left": [f"of its {boxes} boxes {left_out} are left out"] if left_out == boxes else []})


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


def _broken_records(records: list, keys: Sequence[str]) -> list[str]:
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
    return places


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(isinstance(x, int | float) for x in box)


def _has_size(image: dict) -> bool:
    return all(isinstance(image[key], int | float) and image[key] > 0 for key in ("height", "width"))


def _category_faults(categories: list[dict], classes: Sequence[str]) -> list[Fault]:
    names = [category["name"] for category in categories]
    if names == list(classes):
        return []
    twice = [str(name) for name, count in Counter(names).items() if count > 1]
    unknown = [str(name) for name in names if name not in classes]
    absent = [str(name) for name in classes if name not in names]
    # Labels are numbered by the file's order and named by the config's, so both must be the same list.
    same_names = not (unknown or absent or twice)
    pairs = zip(names, classes, strict=True) if same_names else ()
    moved = [f"{theirs} is where the config has {ours}" for theirs, ours in pairs if theirs != ours]
    places = {"class twice": twice, "unknown category": unknown, "absent category": absent, "category order": moved}
    return found(places, classes=f"{len(classes)} classes: {listed(classes)}")


def _repeated(records: list[dict]) -> list[str]:
    counts = Counter(record["id"] for record in records)
    return [str(key) for key, count in counts.items() if count > 1]


def _dangling(images: list[dict], annotations: list[dict], categories: list[dict]) -> list[str]:
    image_ids = {image["id"] for image in images}
    category_ids = {category["id"] for category in categories}
    return [str(a["id"]) for a in annotations if a["image_id"] not in image_ids or a["category_id"] not in category_ids]


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


def _missing_images(images: list[dict], image_dir: str) -> list[str]:
    names = {os.path.join(image_dir, image["file_name"]): image["file_name"] for image in images}
    return [names[path] for path in absent_files(names)]


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

    crowds = [str(a["id"]) for a, void in zip(known, empty, strict=True) if a.get("iscrowd") and not void]
    all_crowds = len(crowds) == np.count_nonzero(~empty)
    return found(
        {
            "box outside": places(outside),
            "empty box": places(empty),
            "only crowds": crowds if all_crowds else [],
        }
    )


def _place(annotation: dict, images: dict) -> str:
    image = images[annotation["image_id"]]
    box = ", ".join(f"{x:g}" for x in annotation["bbox"])
    size = f"{image['width']}x{image['height']}"
    return f"[{box}] in {image['file_name']} ({size}, annotation {annotation['id']})"
