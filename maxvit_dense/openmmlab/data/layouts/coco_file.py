"""Reads COCO annotation files once a process, puts right what has one right answer, and finds them under any names."""

import gc
import json
import mmap
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from ....errors import InputError, listed
from ..splits import SPLITS, folders_above, split_of

MENDED = "mended"  # places by kind of what was put right on reading, beside COCO's own keys
UNANNOTATED = "unannotated"  # key of a file that has no list of annotations, as COCO's test-dev
_FILES = 8  # annotation files whose content is kept until the data sets are made
_LISTS = ("images", "annotations", "categories")
_DEPTH = ("*.json", "*/*.json", "*/*/*.json")
_MOST_FILES = 200  # JSON files that are looked into: a folder of labelme's has one an image
_TRIED = 20  # images that are looked for in a folder

_kept: dict[tuple[str, int, int], dict[str, Any]] = {}  # by real path, time of change and size


def read_annotations(path: str | os.PathLike) -> dict[str, Any]:
    """Content of a COCO annotation file of sound outline; parsed once, until it changes or ``keep_annotations``.

    Put right, and told under ``MENDED``: no ``iscrowd`` (0), no ``bbox`` (that around the polygons), no ``area`` or
    none above 0 (that of the polygons or the box), corners swapped (a negative width or height), backslashes in
    ``file_name``.

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
    key = (os.path.realpath(path), state.st_mtime_ns, state.st_size)
    if key not in _kept:
        _kept[key] = _parse(str(path))
        while len(_kept) > _FILES:
            del _kept[next(iter(_kept))]
    return _kept[key]


def keep_annotations(paths: Iterable[str | os.PathLike] = ()) -> None:
    """Free what ``read_annotations`` keeps, but for files that will be read again: COCO's takes gigabytes."""
    wanted = {os.path.realpath(path) for path in paths}
    for key in [key for key in _kept if key[0] not in wanted]:
        del _kept[key]


def free_annotations(path: str | os.PathLike) -> None:
    """Free what is kept of a file that nobody will read again."""
    for key in [key for key in _kept if key[0] == os.path.realpath(path)]:
        del _kept[key]


def _parse(path: str) -> dict[str, Any]:
    collects = gc.isenabled()
    gc.disable()  # millions of new objects and no garbage: looking for some takes a third of the time
    try:
        with open(path, encoding="utf-8-sig") as stream:
            content = json.load(stream)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise InputError(f"{path} is broken JSON ({error}). Copy or export it again.") from error
    finally:
        if collects:
            gc.enable()
    lists = content if isinstance(content, dict) else {}
    absent = [key for key in _LISTS if not isinstance(lists.get(key), list)]
    if absent == ["annotations"] and "annotations" not in lists and lists["images"]:
        content["annotations"], absent = [], []
        content[UNANNOTATED] = True
    if absent:
        raise InputError(
            f"{path} is no COCO annotation file: it has no list {', '.join(absent)}. It needs "
            f"{', '.join(_LISTS)}; see cocodataset.org/#format-data."
        )
    if not content["images"]:
        raise InputError(f"{path} lists no images. Export it again, or name another annotation file.")
    content[MENDED] = _mend(content, Path(path).parent)
    return content


# What has one right answer.


def _mend(content: dict[str, Any], folder: Path) -> dict[str, list[str]]:
    places = defaultdict(list)
    named = [image for image in content["images"] if isinstance(image, dict) and is_text(image.get("file_name"))]
    windows = [image for image in named if "\\" in image["file_name"]]
    if windows and not _is_near(windows[0]["file_name"], folder):
        places["backslash"] = [image["file_name"] for image in windows]
        for image in windows:
            image["file_name"] = image["file_name"].replace("\\", "/")
    for entry in content["annotations"]:
        if isinstance(entry, dict):
            _mend_annotation(entry, places)
    return dict(places)


def _is_near(name: str, folder: Path) -> bool:
    """Whether a file of that very name lies where images may: a backslash is part of it then."""
    folders = [folder, folder.parent, *folder.parent.glob("*/"), *folder.parent.glob("*/*/")]
    return any(os.path.isfile(each / name) for each in folders)


def _mend_annotation(entry: dict[str, Any], places: dict[str, list[str]]) -> None:
    if "iscrowd" not in entry:
        entry["iscrowd"] = 0
        places["no iscrowd"].append(str(entry.get("id")))
    shape = entry.get("segmentation")
    if not entry.get("bbox") and isinstance(shape, list) and shape and all(map(is_polygon, shape)):
        entry["bbox"] = surrounding_box(shape)
        places["no box"].append(str(entry.get("id")))
    if not is_box(entry.get("bbox")):
        return
    x, y, width, height = entry["bbox"]
    if width < 0 or height < 0:
        entry["bbox"] = [min(x, x + width), min(y, y + height), abs(width), abs(height)]
        places["swapped corners"].append(str(entry.get("id")))
    own = entry.get("area")
    if (own is None or is_number(own) and own <= 0) and width and height:
        entry["area"] = area(entry)
        places["no area"].append(str(entry.get("id")))


def is_number(value: Any) -> bool:
    """A finite number of a size that arithmetic in float64 takes."""
    return type(value) in (int, float) and -1e12 < value < 1e12


def is_box(box: Any) -> bool:
    """Four numbers, of which some may be NaN or infinite: such a box lies outside its image, and can be skipped."""
    return isinstance(box, list) and len(box) == 4 and all(type(x) is float or is_number(x) for x in box)


def is_polygon(numbers: Any) -> bool:
    """x and y of three points or more."""
    return isinstance(numbers, list) and len(numbers) >= 6 and not len(numbers) % 2 and all(map(is_number, numbers))


def surrounding_box(polygons: list[list[float]]) -> list[float]:
    """The box (x, y, width, height) around polygons."""
    xs, ys = ([number for polygon in polygons for number in polygon[start::2]] for start in (0, 1))
    return [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]


def area(entry: dict[str, Any]) -> float:
    """Of an annotation's polygons, in pixels; of its box where it has none that are sound."""
    shape = entry.get("segmentation")
    if isinstance(shape, list) and shape and all(map(is_polygon, shape)):
        total = sum(_polygon_area(numbers) for numbers in shape)
        if total:
            return total
    return abs(entry["bbox"][2] * entry["bbox"][3])


def _polygon_area(numbers: list[float]) -> float:
    xs, ys = numbers[::2], numbers[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


# Where the files are.


@dataclass(frozen=True)
class CocoSplit:
    """An annotation file with the folder of its images.

    Attributes:
        name: as its files have it, for messages: "train2017".
        split: "train", "val", "test", or "all" where no name tells.
    """

    name: str
    split: str
    path: Path
    images: Path


def find_coco(root: str | os.PathLike) -> list[CocoSplit]:
    """The COCO annotation files below a folder, one a split, under any names; none if there are none.

    Raises:
        InputError: two files of one split, neither of which is COCO's own ``instances_...``.
    """
    root = Path(root)
    by_split = defaultdict(list)
    for path in islice((p for form in _DEPTH for p in sorted(root.glob(form))), _MOST_FILES):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if not hidden and path.is_file() and _has_lists(path):
            by_split[split_of([path.stem, *folders_above(path, root)])].append(path)
    if "train" in by_split or "val" in by_split:
        by_split.pop("all", None)  # a file of all images beside its parts
    return [_coco_split(split, paths, root) for split, paths in sorted(by_split.items(), key=_order)]


def _order(item: tuple[str, Any]) -> int:
    return ("train", "val", "test", "all").index(item[0])


def _coco_split(split: str, paths: list[Path], root: Path) -> CocoSplit:
    own = [path for path in paths if path.stem.startswith("instances_")] or paths
    if len(own) > 1:
        names = listed((path.relative_to(root) for path in own), 3)
        raise InputError(
            f"{root} has {len(own)} annotation files of its {split} images: {names}. Keep one of them, or name it with "
            "--cfg-options train_dataloader.dataset.ann_file=... (val_ and test_ likewise)."
        )
    name = own[0].stem.removeprefix("instances_")
    name = own[0].parent.name if split_of([own[0].stem]) == "all" and split != "all" else name
    return CocoSplit(name, split, own[0], _image_folder(own[0], name, root))


def _has_lists(path: Path) -> bool:
    """Whether it names COCO's lists somewhere, or has COCO's own name; unparsed: it may have hundreds of megabytes."""
    if path.parent.name == "annotations" and path.stem.startswith("instances_"):
        return True
    if not path.stat().st_size:
        return False
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return all(text.find(f'"{key}"'.encode()) >= 0 for key in ("images", "categories"))


def _image_folder(path: Path, name: str, root: Path) -> Path:
    """The folder that the images' ``file_name`` is relative to: the first where one of them lies."""
    folders = [root / name, path.parent, path.parent / "images", root / "images" / name, *_split_folders(name, root)]
    folders += [root / "images", root, path.parent.parent]
    try:
        images = read_annotations(path)["images"][:_TRIED]
    except InputError:
        return folders[0]
    names = [image["file_name"] for image in images if isinstance(image, dict) and is_text(image.get("file_name"))]
    for folder in folders:
        if any(os.path.isfile(folder / each) for each in names):
            return folder
    return folders[0]


def _split_folders(name: str, root: Path) -> Iterator[Path]:
    for alias in SPLITS.get(split_of([name]), (name,)):
        yield root / alias
        yield root / "images" / alias
        yield root / alias / "images"


def is_text(value: Any) -> bool:
    """A name that files and terminals take: not empty, without a null or half a character (a lone surrogate)."""
    if not isinstance(value, str) or not value.strip() or "\0" in value:
        return False
    return value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
