"""Reads Pascal VOC's XML, in its own folders or as labelImg leaves it: beside the images or apart from them."""

import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from ....errors import InputError
from ..image_check import SUFFIXES, ImageFacts, refuse_no_file
from ..layouts.mask_folders import names_in, voc_lists
from ..splits import files_below, folders_above, some_hold, split_of
from .sources import SourceSet, compare_size, fill, images_by_stem, settle_classes

_UNREAD = ("could not convert", "invalid literal")  # Python's words, with what stands there


def is_voc(root: Path) -> bool:
    return (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir()


def is_labelimg(root: Path) -> bool:
    """Whether some XML file below a folder is an annotation of objects."""
    return some_hold(root, "*.xml", b"<annotation")


def read_voc(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read ``Annotations/*.xml``, ``JPEGImages/`` and, if there, the lists in ``ImageSets/Main/``.

    Of the lists ``train`` and ``val`` count; ``trainval`` trains where there is no ``train``, and ``test`` then
    evaluates. Boxes follow the VOC definition: corner pixels, counted from 1, belong to the box. A "difficult" object
    gets ``iscrowd`` 1, which COCO's evaluation neither rewards nor punishes, as VOC's; both flags are kept beside it.

    Args:
        root: of the data set.
        classes: names in the order of labels; by default those that occur, sorted.
        val_fraction: of the images, drawn for validation where no list names them.

    Raises:
        InputError: there are no annotations, or a list cannot be read.
    """
    source = SourceSet("VOC")
    files = {path.stem: path for path in sorted((root / "Annotations").glob("*.xml"))}
    if not files:
        raise InputError(f"{root / 'Annotations'} holds no .xml file. Give the folder above Annotations/ of a VOC set.")
    folder = root / "JPEGImages"
    images = images_by_stem(folder.iterdir() if folder.is_dir() else (), source)
    lists = {split: names_in(path) for split, path in voc_lists(root / "ImageSets" / "Main").items() if path}
    if not lists.get("train"):
        lists = dict(all=sorted(files))
    members = {split: [(stem, images.get(stem), files.get(stem)) for stem in stems] for split, stems in lists.items()}
    fill(source, members, val_fraction, _read_xml)
    settle_classes(source, classes)
    return source


def read_labelimg(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read all annotations below a folder; each has the image of its name, the nearest where there are several.

    Folders called train, val, ... divide them; of images without such a folder, a part is drawn. An image without an
    annotation holds no object, as labelImg leaves those that were passed over. Arguments and errors as of ``read_voc``.
    """
    source, images = SourceSet("labelImg"), defaultdict(list)
    for path in sorted(path for path in root.rglob("*") if path.suffix.lower() in SUFFIXES):
        images[path.stem].append(path)
    pairs: dict[Path, Path] = {}
    for path in files_below(root, "*.xml"):
        found = max(images.get(path.stem, ()), key=lambda image: _nearness(image, path, root), default=None)
        if found is None:
            source.places["absent image"].append(f"{path.stem}, of {path.relative_to(root)}")
        elif found in pairs:
            source.places["duplicate name"].append(f"{pairs[found].relative_to(root)} and {path.relative_to(root)}")
        else:
            pairs[found] = path
    by_split = defaultdict(list)
    for image in (image for paths in images.values() for image in paths):
        files = (image, pairs.get(image, image))
        split = split_of(name for file in files for name in folders_above(file, root))
        by_split[split].append((image.stem, image, pairs.get(image)))
    fill(source, by_split, val_fraction, _read_xml, needed=False)
    settle_classes(source, classes)
    return source


def _nearness(image: Path, annotation: Path, root: Path) -> tuple[bool, int]:
    """Whether two files are of the same split, and how many of their folders have the same names."""
    folders = folders_above(image, root), folders_above(annotation, root)
    return split_of(folders[0]) == split_of(folders[1]), len({*folders[0]} & {*folders[1]})


def _read_xml(path: Path, facts: ImageFacts, source: SourceSet) -> list[dict]:
    try:
        refuse_no_file(path)
        tree = ElementTree.parse(path).getroot()
        size = tuple(int(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        objects = [_object(node, path, source) for node in tree.iter("object")]
    except (ElementTree.ParseError, TypeError, ValueError, OverflowError, LookupError, OSError) as error:
        why = "a value that is no number" if str(error).startswith(_UNREAD) else error
        source.places["broken annotation"].append(f"{path.name} ({why})")
        return []
    compare_size(source, path, size, facts)
    return objects


def _object(node: ElementTree.Element, path: Path, source: SourceSet) -> dict:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    corners = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in corners:
        raise ValueError(f"{name} without xmin, ymin, xmax, ymax")
    x1, y1, x2, y2 = map(float, corners)
    if not all(map(math.isfinite, (x1, y1, x2, y2))):
        raise ValueError(f"{name} with a value that is no finite number")
    (left, right), (top, bottom) = sorted((x1, x2)), sorted((y1, y2))
    if (left, top) != (x1, y1):
        source.places["swapped corners"].append(f"{name} in {path.name}")
    flags = {key: int(node.findtext(key) or 0) for key in ("difficult", "truncated")}
    box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
    return dict(name=name, bbox=box, iscrowd=int(flags["difficult"] > 0), **flags)
