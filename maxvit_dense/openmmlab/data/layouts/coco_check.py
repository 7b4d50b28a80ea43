"""The rules of COCO annotations: what training or evaluation would trip over. Needs numpy only."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ....errors import InputError, listed
from ..choice import adapted
from ..faults import Fault, found, refuse
from .coco_file import MENDED, is_box, is_number, is_polygon, is_text, read_annotations

# Pixels. Rounding, and tools that count pixels from 1, put honest boxes up to one pixel past the border.
_BORDER_TOLERANCE = 1.0
CLIPPED_SHARE = 0.1  # of a box: what reaches outside by no more is clipped
MIN_SIZE = 32  # pixels, of the configs' filter_cfg
_LEAST_OVERLAP = 0.25  # intersection over union of an object's box and its polygons

_LISTS = ("images", "annotations", "categories")
_IMAGE_KEYS = ("id", "file_name", "height", "width")
_ANNOTATION_KEYS = ("id", "image_id", "category_id", "bbox", "area")
_CATEGORY_KEYS = ("id", "name")


def category_names(path: str) -> tuple[str, ...]:
    """Class names of a COCO annotation file, in the order of its labels.

    Raises:
        InputError: as ``read_annotations``; no categories, one without a name, or one named twice.
    """
    categories = read_annotations(path)["categories"]
    names = tuple(category.get("name") for category in categories if isinstance(category, dict))
    if not names or len(names) < len(categories) or not all(map(is_text, names)):
        raise InputError(f"{path} has no list of categories with a name each, so there are no classes to train on.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{path} names a category twice: {', '.join(twice)}. Give each its own name, or merge them.")
    return names


def chosen_annotations(
    path: str, pairs: Sequence[Sequence[str]] | None = None, boxes_as_masks: bool = False
) -> dict[str, Any]:
    """``read_annotations``, as ``choice.adapted`` has it.

    Raises:
        InputError: as both, and ``category_names``.
    """
    content = read_annotations(path)
    if pairs is not None:
        category_names(path)
        refuse(found({"category entry": _broken_records(content["categories"], _CATEGORY_KEYS)}), path)
    return adapted(content, pairs, boxes_as_masks, path)


def inspect_coco(
    content: dict[str, Any],
    image_dir: str,
    classes: Sequence[str],
    masks: bool = False,
    evaluated: bool = False,
    clipped: float = CLIPPED_SHARE,
    shapes: bool = False,
    filtered: Mapping[str, Any] | None = None,
) -> list[Fault]:
    """Find every fault of an annotation file that training or evaluation would trip over.

    Args:
        content: what ``read_annotations`` returned.
        image_dir: folder that the images' ``file_name`` is relative to.
        classes: class names of the config, in the order of its labels.
        masks: instance masks are used, so each object needs one.
        evaluated: the file is ground truth of an evaluation, which reads ``iscrowd`` too.
        clipped: share of a box that may lie outside its image.
        shapes: masks must be sound where there are some, used or not.
        filtered: the file is trained on, and this is mmdet's ``filter_cfg`` of its data set, which may be empty:
            ``min_size`` in pixels and ``filter_empty_gt``. What it leaves out is told, and if anything is left.

    Returns:
        Faults, at most one of each kind; empty if there are none.
    """
    images, annotations, categories = (content[key] for key in _LISTS)
    required = _ANNOTATION_KEYS + (("iscrowd",) if evaluated else ())
    optional = () if evaluated else ("iscrowd",)
    broken = found(
        {
            "image entry": _broken_records(images, _IMAGE_KEYS),
            "annotation entry": _broken_records(annotations, required, optional),
            "category entry": _broken_records(categories, _CATEGORY_KEYS),
        }
    )
    if broken:
        return broken  # the checks below read these entries
    boxes = _box_faults(images, annotations, clipped)
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
        *_place_faults(images, image_dir),
        *boxes,
        *([] if filtered is None else _left_out(images, annotations, boxes, filtered)),
        *found(_shape_faults(images, annotations, masks) if masks or shapes else {}),
        *found(content.get(MENDED, {})),
    ]


def reaches_outside(boxes: np.ndarray, width: Any, height: Any) -> np.ndarray:
    """Which boxes leave their image by more than the tolerance.

    Args:
        boxes: (n, 4) corners x1, y1, x2, y2 in pixels.
        width: of the image in pixels, or (n,) of each box's image.
        height: likewise.

    Returns:
        (n,) booleans; a box with a coordinate that is no finite number counts as outside.
    """
    low = np.minimum(boxes[:, 0], boxes[:, 1]) >= -_BORDER_TOLERANCE
    high = (boxes[:, 2] <= width + _BORDER_TOLERANCE) & (boxes[:, 3] <= height + _BORDER_TOLERANCE)
    return ~(low & high & np.isfinite(boxes).all(axis=1))


def share_outside(boxes: np.ndarray, width: Any, height: Any) -> np.ndarray:
    """(n,) part of each box's area that lies outside its image; arguments as of ``reaches_outside``."""
    sides = [
        np.clip(boxes[:, i + 2], 0, limit) - np.clip(boxes[:, i], 0, limit) for i, limit in ((0, width), (1, height))
    ]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return 1 - sides[0] * sides[1] / np.where(areas > 0, areas, np.inf)


_SOUND = {
    "id": lambda value: type(value) in (int, str) and (type(value) is str or is_number(value)),
    "bbox": is_box,
    "area": is_number,
    "iscrowd": lambda value: value in (0, 1) and isinstance(value, int),
    "file_name": is_text,
    "name": is_text,
    "height": lambda value: is_number(value) and value > 0 and value == int(value),
}
_SOUND |= {"image_id": _SOUND["id"], "category_id": _SOUND["id"], "width": _SOUND["height"]}
_MEANT = {"bbox": "bbox of four numbers", "height": "height and width above 0", "width": "height and width above 0"}


def _broken_records(records: list, keys: Sequence[str], optional: Sequence[str] = ()) -> list[str]:
    places = []
    for index, record in enumerate(records):
        own = [*keys, *(key for key in optional if isinstance(record, dict) and key in record)]
        if isinstance(record, dict) and all(key in record and _SOUND[key](record[key]) for key in own):
            continue
        lacking = [key for key in own if not isinstance(record, dict) or key not in record]
        lacking = lacking or [_MEANT.get(key, f"a usable {key}") for key in own if not _SOUND[key](record[key])]
        places.append(f"entry {index} lacks {', '.join(dict.fromkeys(lacking))}")
    kinds = {type(record["id"]) for record in records} if not places else ()
    if len(kinds) > 1:
        places.append("ids, of which some are numbers and some are texts")
    return places


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


def misplaced(paths: Iterable[str], folder: str) -> tuple[list[str], list[str]]:
    """Which of many files do not exist, and which lie outside a folder, by their names or as links that may lead there.

    By one listing of each folder: asking for each of COCO's 118,000 files takes minutes on a network disk.
    """
    inside, real = (os.path.join(settle(folder), "") for settle in (os.path.normpath, os.path.realpath))
    listings: dict[str, dict[str, bool]] = {}
    absent, outside = [], []
    for path in paths:
        above, name = os.path.split(path)
        if above not in listings:
            listings[above] = _links_by_name(above)
        is_link = listings[above].get(name)
        if is_link is None:
            absent.append(path)
        if not os.path.normpath(path).startswith(inside) or (is_link and not os.path.realpath(path).startswith(real)):
            outside.append(path)
    return absent, outside


def _links_by_name(folder: str) -> dict[str, bool]:
    """Of each name in a folder whether it is a link."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.is_symlink() for entry in entries}
    except OSError:  # absent, no folder, or a name longer than there may be
        return {}


def _place_faults(images: list[dict], image_dir: str) -> list[Fault]:
    names = {os.path.join(image_dir, image["file_name"]): image["file_name"] for image in images}
    absent, outside = ([names[path] for path in paths] for paths in misplaced(names, image_dir))
    return found({"missing image": absent, "outside image": outside}, total=len(images), folder=image_dir)


def _box_faults(images: list[dict], annotations: list[dict], clipped: float) -> list[Fault]:
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
    far = outside & ~(share_outside(corners, sizes[:, 0], sizes[:, 1]) <= clipped)  # NaN is far

    def places(chosen: np.ndarray) -> list[str]:
        return [_place(known[index], by_id) for index in np.flatnonzero(chosen)]

    crowds = [str(a["id"]) for a, void in zip(known, empty, strict=True) if a.get("iscrowd") and not void]
    all_crowds = len(crowds) == np.count_nonzero(~empty)
    return found(
        {
            "box outside": places(far),
            "clipped box": places(outside & ~far),
            "empty box": places(empty),
            "only crowds": crowds if all_crowds else [],
        },
        share=f"{clipped:g}",
    )


def _left_out(images: list[dict], boxes: list[dict], faults: list[Fault], filtered: Mapping[str, Any]) -> list[Fault]:
    """What a training leaves out, and whether anything is left; ``faults`` of the boxes."""
    least = filtered.get("min_size", 0)
    small = {image["id"]: image["file_name"] for image in images if min(image["width"], image["height"]) < least}
    told = found({"small image": list(small.values())}, least=least)
    if filtered.get("filter_empty_gt"):
        used = {entry["image_id"] for entry in boxes}
        told += found({"bare image": [image["file_name"] for image in images if image["id"] not in used]})
    flat = sum(fault.count for fault in faults if fault.kind in ("box outside", "empty box"))
    left_out = flat + sum(entry["image_id"] in small or bool(entry.get("ignore")) for entry in boxes)
    if left_out < len(boxes):
        return told
    why = f" ({len(small)} of {len(images)} images have a side under {least} pixels)" if small else ""
    return told + found({"nothing left": [f"of its {len(boxes)} boxes {len(boxes)} are left out{why}"]}, least=least)


# Masks of objects.


def _shape_faults(images: list[dict], annotations: list[dict], masks: bool) -> dict[str, list[str]]:
    """Places of each kind of fault of the segmentations; those that are absent where ``masks`` are used."""
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    places = defaultdict(list)
    for entry in annotations:
        shape = entry.get("segmentation")
        if shape is None or shape == [] or shape == {}:
            kind = "no segmentation" if masks else ""
        elif isinstance(shape, dict):
            kind = _rle_fault(shape, sizes.get(entry["image_id"]))
        else:
            kind = _polygon_fault(shape, entry["bbox"], sizes.get(entry["image_id"], (0, 0)))
        if kind:
            places[kind].append(str(entry["id"]))
    return places


def _polygon_fault(shape: Any, box: list[float], size: tuple[int, int]) -> str:
    if not isinstance(shape, list):
        return "broken polygon"
    if is_number(shape[0]):
        return "flat polygon"
    if not all(map(is_polygon, shape)):
        return "broken polygon"
    x, y, width, height = box
    in_image = x >= -_BORDER_TOLERANCE and y >= -_BORDER_TOLERANCE
    in_image = in_image and x + width <= size[1] + _BORDER_TOLERANCE and y + height <= size[0] + _BORDER_TOLERANCE
    if not in_image or width < 1 or height < 1:
        return ""  # a fault of the box, which is told
    left, right = min(min(p[::2]) for p in shape), max(max(p[::2]) for p in shape)
    top, bottom = min(min(p[1::2]) for p in shape), max(max(p[1::2]) for p in shape)
    inside = max(0, min(right, x + width) - max(left, x)) * max(0, min(bottom, y + height) - max(top, y))
    union = (right - left) * (bottom - top) + width * height - inside
    return "mask beside box" if inside < _LEAST_OVERLAP * union else ""


def _rle_fault(shape: dict[str, Any], size: tuple[int, int] | None) -> str:
    counts, own = shape.get("counts"), shape.get("size")
    if not isinstance(own, list) or len(own) != 2 or (size and tuple(own) != size):
        return "RLE size"
    if isinstance(counts, str | bytes):  # bytes where pycocotools has put them into a file that is kept in memory
        counts = _runs(counts if isinstance(counts, str) else counts.decode("ascii", "replace"))
    sound = isinstance(counts, list) and all(type(run) is int and run >= 0 for run in counts)
    return "" if sound and size and sum(counts) == size[0] * size[1] else "broken RLE"


def _runs(text: str) -> list[int]:
    """Lengths of a compressed RLE's runs, as pycocotools' ``rleFrString`` reads them; none of a text that is no RLE.

    A length is written in groups of five bits, the lowest first, 32 marking that one more follows; from the fourth on,
    as its difference to that before the last.
    """
    runs, value, shift = [], 0, 0
    for letter in text:
        bits = ord(letter) - 48
        if not 0 <= bits < 64:
            return []
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # its sign
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if not shift else []


def _place(annotation: dict, images: dict) -> str:
    image = images[annotation["image_id"]]
    box = ", ".join(f"{x:g}" for x in annotation["bbox"])
    size = f"{image['width']}x{image['height']}"
    return f"[{box}] in {image['file_name']} ({size}, annotation {annotation['id']})"
