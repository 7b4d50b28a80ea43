"""Reads YOLO's text annotations: boxes, polygons, and the boxes of poses."""

import re
from collections.abc import Sequence
from functools import partial
from itertools import islice
from math import isfinite
from pathlib import Path
from typing import Any

import yaml

from ....errors import InputError
from ..choice import read_class_file
from ..image_check import SUFFIXES, ImageFacts, refuse_no_file
from ..layouts.coco_file import surrounding_box
from ..splits import SPLITS, split_of
from .sources import SourceSet, class_list, fill, images_by_stem

_LONGEST = 2**20  # bytes of data.yaml
_LOOKED_INTO = 20  # files, to see whether they lie beside images


def is_yolo(root: Path) -> bool:
    return bool(_folders(root))


def read_yolo(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read ``images/`` and ``labels/``, divided into ``train/`` and ``val/`` below or above, or not, or both in one.

    Other folders are those that ``data.yaml`` names, if they lie in ``root``.

    A label line is ``class cx cy width height`` or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon, or where all are
    rectangles an oriented box, of which the upright box around it is taken; in parts of the image's size, as it is
    seen upright. With ``kpt_shape`` in ``data.yaml`` a line is a box and key points, and the box is taken. An image
    without a label file holds no object.

    Args:
        root: of the data set.
        classes: names in the order of labels; by default those of ``data.yaml`` (or another ``.yaml`` with
            ``names``, whose keys count if it has some), or of ``classes.txt`` or Darknet's ``obj.names``.
        val_fraction: as of ``voc.read_voc``.

    Raises:
        InputError: no images or no class names are found.
    """
    source, options = SourceSet("YOLO"), _options(root)
    names = dict(enumerate(classes)) if classes else _names(options, root)
    source.classes = class_list(names.values(), source)
    read = partial(_read_lines, names=names, points=_key_points(options, root))
    members = {}
    for split, (image_dir, label_dir) in _folders(root).items():
        images = images_by_stem(image_dir.iterdir(), source)
        labels = {path.stem: path for path in sorted(label_dir.glob("*.txt")) if path.name != "classes.txt"}
        members[split] = [(stem, images.get(stem), labels.get(stem)) for stem in sorted({*images, *labels})]
    fill(source, members, val_fraction, read, needed=False)
    _take_upright_boxes(source)
    if not any(source.splits.values()):
        raise InputError(f"{root} holds no images in images/ (or train/images/). Give the folder of a YOLO data set.")
    return source


def _read_lines(
    path: Path, facts: ImageFacts, source: SourceSet, names: dict[int, str], points: int
) -> list[dict[str, Any]]:
    objects = []
    try:
        refuse_no_file(path)
        lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError as error:
        source.places["broken annotation"].append(f"{path.name} ({error})")
        return []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        place = f"{path.name} line {number}"
        try:
            label, *values = map(_number, line.split())
            shape = _shape(values, facts, points)
        except ValueError as error:
            source.places["broken annotation"].append(f"{place} ({error})")
            continue
        if label not in names:
            known = f"{len(names)}" if list(names) == list(range(len(names))) else ", ".join(map(str, names))
            source.places["unknown class"].append(f"{place} (class {label:g} of {known})")
            continue
        objects.append(dict(name=names[int(label)], **shape))
    return objects


def _number(word: str) -> float:
    """Whatever else stands there is not repeated: the file may be a link to one that is nobody's business."""
    try:
        return float(word)
    except ValueError:
        raise ValueError("a word that is no number") from None


def _shape(values: list[float], facts: ImageFacts, points: int) -> dict[str, Any]:
    """Box, and polygon if that is what ``values`` are, in pixels; ``points``: how many values of key points follow."""
    if not all(map(isfinite, values)):
        raise ValueError("a value that is no finite number")
    if points and len(values) == 4 + points:
        values = values[:4]
    if len(values) == 4:
        x, y, width, height = values
        if width < 0 or height < 0:
            raise ValueError("a width or height below 0")
        box = [(x - width / 2) * facts.width, (y - height / 2) * facts.height]
        return dict(bbox=[*box, width * facts.width, height * facts.height])
    if points:
        raise ValueError(f"{len(values) + 1} numbers, not {points + 5} of a box with key points")
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values) + 1} numbers, not 5 of a box or an odd number from 7 of a polygon")
    xs, ys = [x * facts.width for x in values[::2]], [y * facts.height for y in values[1::2]]
    polygon = [number for point in zip(xs, ys, strict=True) for number in point]
    return dict(bbox=surrounding_box([polygon]), segmentation=[polygon])


def _take_upright_boxes(source: SourceSet) -> None:
    """Oriented boxes have four corners, as a polygon may: where all objects are rectangles, their masks are none."""
    objects = [entry for items in source.splits.values() for item in items for entry in item.objects]
    if objects and all(_is_rectangle(entry.get("segmentation", [[]])[0]) for entry in objects):
        source.places["oriented box"] += [entry["name"] for entry in objects]
        for entry in objects:
            del entry["segmentation"]


def _is_rectangle(polygon: list[float]) -> bool:
    """Whether these are the four corners (x1, y1, ...) of one, to a pixel: its diagonals share middle and length."""
    if len(polygon) != 8:
        return False
    a, b, c, d = (complex(*polygon[start : start + 2]) for start in (0, 2, 4, 6))
    return abs(a + c - b - d) < 2 and abs(abs(a - c) - abs(b - d)) < 1


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Image and label folder of each split; of "all" where there are no splits."""
    found = {}
    for split, names in SPLITS.items():
        for name in names:
            for parts in (("{}", name), (name, "{}")):
                pair = tuple(root.joinpath(*(part.format(kind) for part in parts)) for kind in ("images", "labels"))
                if all(folder.is_dir() for folder in pair):
                    found.setdefault(split, pair)
    if not found and any((root / "labels").glob("*.txt")) and (root / "images").is_dir():
        found["all"] = (root / "images", root / "labels")
    return found or _named(root) or _beside(root)


def _named(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders inside ``root`` that ``data.yaml`` names; labels are where Ultralytics looks: images/ read as labels/."""
    options, found = _options(root), {}
    above, train, val = (_relative(options.get(key)) for key in ("path", "train", "val"))
    for split, name in (("train", train), ("val", val)):
        for folder in (f"{above}/{name}".lstrip("/"), name) if name and ".." not in f"{above}/{name}" else ():
            labels = root / re.sub(r"^(.*/|)images(?=/|$)", r"\1labels", folder)
            if (root / folder).is_dir() and any(labels.glob("*.txt")):
                found.setdefault(split, (root / folder, labels))
    return found if "train" in found else {}


def _relative(value: Any) -> str:
    """A folder of ``data.yaml``, which counts from somewhere above, or the only one of a list."""
    only = value[0] if isinstance(value, list) and len(value) == 1 else value
    return only.lstrip("./") if isinstance(only, str) else ""


def _beside(root: Path) -> dict[str, tuple[Path, Path]]:
    """Folders with labels beside images and a list of names: labelImg's, or Darknet's as CVAT exports them."""
    if not any(_lists(root)):
        return {}
    found = {}
    for folder in (root, *sorted(path for path in root.glob("*") if path.is_dir())):
        labels = islice(folder.glob("*.txt"), _LOOKED_INTO)
        if any(label.with_suffix(suffix).is_file() for label in labels for suffix in SUFFIXES):
            found[split_of([folder.name] if folder != root else ())] = (folder, folder)
    return found


def _lists(root: Path) -> list[Path]:
    """The lists of class names in a data set."""
    return [path for form in ("classes.txt", "*.names", "*/classes.txt") for path in sorted(root.glob(form))]


def _options(root: Path) -> dict[str, Any]:
    """Content of ``data.yaml``, or of another YAML file with ``names``; empty if there is none."""
    for path in sorted(root.glob("*.y*ml"), key=lambda path: path.stem != "data"):
        try:
            refuse_no_file(path)
            if path.stat().st_size > _LONGEST:
                raise ValueError(f"over {_LONGEST} bytes")
            text = path.read_text(encoding="utf-8-sig")
            if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
                raise ValueError("it has aliases, which may stand for gigabytes")
            content = yaml.safe_load(text) or {}
            names = content.get("names")
        except (yaml.YAMLError, AttributeError, ValueError, OSError, RecursionError) as error:
            place = getattr(error, "problem_mark", None)
            why = f"line {place.line + 1}" if place else "no dictionary" if isinstance(error, AttributeError) else error
            raise InputError(f"{path} cannot be read as YAML ({why}). Correct it, or give --classes FILE.") from error
        if names:
            return dict(content, path=path)
    return {}


def _names(options: dict[str, Any], root: Path) -> dict[int, str]:
    names = options.get("names")
    if isinstance(names, dict):
        if not all(type(key) is int and key >= 0 for key in names):
            raise InputError(f"names of {options['path']} have keys that are no class numbers: {list(names)}.")
    else:
        names = dict(enumerate(names)) if isinstance(names, list) else {}
    if names:
        if options.get("nc", len(names)) not in (len(names), max(names) + 1):
            raise InputError(f"{options['path']} has {len(names)} names, and nc is {options['nc']!r}. Correct one.")
        return {key: str(names[key]) for key in sorted(names)}
    for path in _lists(root):
        return dict(enumerate(read_class_file(path)))
    raise InputError(
        f"{root} names no classes. Give --classes FILE, one name a line in the order of the labels, or put it there "
        "as classes.txt, or data.yaml with names."
    )


def _key_points(options: dict[str, Any], root: Path) -> int:
    """How many numbers of key points a label line has."""
    shape = options.get("kpt_shape")
    if shape is None:
        return 0
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(n) is int and 0 < n < 10_000 for n in shape):
        raise InputError(f"kpt_shape of {options['path']} is {shape!r}; it is [points, 2] or [points, 3].")
    return shape[0] * shape[1]
