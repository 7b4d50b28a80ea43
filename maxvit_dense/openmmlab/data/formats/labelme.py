"""Reads labelme's JSON files: one an image, with polygons, rectangles and circles."""

import json
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..image_check import SUFFIXES, ImageFacts
from ..layouts.coco_file import is_number, is_text, surrounding_box
from ..splits import files_below, folders_above, some_hold, split_of
from .sources import SourceSet, compare_size, fill, settle_classes

_CORNERS = 32  # of the polygon that stands for a circle


def is_labelme(root: Path) -> bool:
    """Whether some JSON file below a folder is of labelme."""
    return some_hold(root, "*.json", b'"shapes"')


def read_labelme(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read all files of labelme below a folder, with the image that each names, or that has its name.

    Splits as of ``voc.read_labelimg``; arguments and errors as of ``voc.read_voc``. Shapes of one ``group_id`` are one
    object. Points and lines have no area and are told as broken annotations.
    """
    source, by_split = SourceSet("labelme"), defaultdict(list)
    for path in files_below(root, "*.json"):
        image = _image_of(path)
        if image is None:
            source.places["absent image"].append(f"that of {path.relative_to(root)}")
            continue
        by_split[split_of(folders_above(path, root))].append((image.stem, image, path))
    fill(source, by_split, val_fraction, _read_shapes)
    settle_classes(source, classes)
    return source


def _image_of(path: Path) -> Path | None:
    """The image that a file names, wherever it was when it was written, or that has its name."""
    try:
        named = json.loads(path.read_text(encoding="utf-8-sig")).get("imagePath", "")
        candidates = [
            path.parent / str(named).replace("\\", "/"),
            path.parent / Path(str(named).replace("\\", "/")).name,
        ]
    except (OSError, ValueError, AttributeError, RecursionError):
        candidates = []
    candidates += [path.with_suffix(suffix) for suffix in SUFFIXES]
    return next((c for c in candidates if c.suffix.lower() in SUFFIXES and c.is_file()), None)


def _read_shapes(path: Path, facts: ImageFacts, source: SourceSet) -> list[dict[str, Any]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
        shapes = [_shape(shape) for shape in content["shapes"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        source.places["broken annotation"].append(f"{path.name} ({type(error).__name__}: {error})")
        return []
    size = content.get("imageWidth"), content.get("imageHeight")
    compare_size(source, path, size, facts)
    objects: dict[Any, dict[str, Any]] = {}
    for number, (name, group, polygon) in enumerate(shapes):
        key = (name, str(group)) if group is not None else number
        objects.setdefault(key, dict(name=name, segmentation=[]))["segmentation"].append(polygon)
    for entry in objects.values():
        entry["bbox"] = surrounding_box(entry["segmentation"])
    return list(objects.values())


def _shape(shape: dict[str, Any]) -> tuple[str, Any, list[float]]:
    """Name, group and polygon of a shape."""
    name, kind, points = shape["label"], shape.get("shape_type", "polygon"), shape["points"]
    if not is_text(name):
        raise ValueError(f"a shape whose label is {name!r}")
    if not all(len(point) == 2 and all(map(is_number, point)) for point in points):
        raise ValueError(f"{name}: points that are not pairs of numbers")
    if kind == "rectangle" and len(points) == 2:
        (x1, y1), (x2, y2) = points
        points = [(x1, y1), (x2, y1), (x2, y2), (x1, y2)]
    elif kind == "circle" and len(points) == 2:
        (x, y), edge = points
        radius = math.dist((x, y), edge)
        turns = [2 * math.pi * index / _CORNERS for index in range(_CORNERS)]
        points = [(x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns]
    elif kind not in ("polygon", "rectangle") or len(points) < 3:
        raise ValueError(f"{name} is a {kind} of {len(points)} points, which has no area")
    return name.strip(), shape.get("group_id"), [number for point in points for number in point]
