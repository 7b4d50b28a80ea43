"""Reads Pascal VOC XML and YOLO text annotations as COCO's records. Needs Pillow and PyYAML only.

Nothing is corrected on the way: what is wrong is returned as faults, and boxes outside their image as they stand.
"""

import json
import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml

from ...errors import InputError
from .faults import Fault, found
from .image_check import SUFFIXES, ImageFacts, read_facts

_FIRST_ID = {"train": 1, "val": 1_000_001}  # image ids are unique over both splits
_SEED = 0
_VAL_NAMES = ("val", "valid", "validation")


@dataclass
class Item:
    """An image with its objects; an object is an annotation of COCO without ids, with its class by name."""

    path: Path
    width: int
    height: int
    objects: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class SourceSet:
    """A data set as its annotation files have it.

    Attributes:
        kind: "VOC" or "YOLO".
        classes: names in the order of labels.
        splits: items of "train" and "val".
        divided: True where the files have no validation list and one was drawn.
        places: where each kind of fault was found.
    """

    kind: str
    classes: list[str] = field(default_factory=list)
    splits: dict[str, list[Item]] = field(default_factory=dict)
    divided: bool = False
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def faults(self) -> list[Fault]:
        return found(self.places)

    def coco(self, split: str) -> dict[str, Any]:
        """One split in COCO's format; each ``file_name`` is the bare name."""
        label = {name: index for index, name in enumerate(self.classes, 1)}
        images, annotations = [], []
        for image_id, item in enumerate(self.splits[split], _FIRST_ID[split]):
            images.append(dict(id=image_id, file_name=item.path.name, width=item.width, height=item.height))
            for entry in item.objects:
                record = {key: value for key, value in entry.items() if key != "name"}
                ids = dict(id=len(annotations) + 1, image_id=image_id, category_id=label[entry["name"]])
                annotations.append({**ids, "area": _area(entry), "iscrowd": 0, **record})
        categories = [dict(id=index, name=name) for name, index in label.items()]
        return dict(images=images, annotations=annotations, categories=categories)


def is_voc(root: Path) -> bool:
    return (root / "Annotations").is_dir() and (root / "JPEGImages").is_dir()


def is_yolo(root: Path) -> bool:
    return bool(_yolo_folders(root))


def read_voc(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read ``Annotations/*.xml``, ``JPEGImages/`` and, if there, ``ImageSets/Main/{train,val}.txt``.

    Boxes follow the VOC definition: corner pixels, counted from 1, belong to the box. A "difficult" object gets
    ``iscrowd`` 1, which COCO's evaluation neither rewards nor punishes, as VOC's; both flags are kept beside it.

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
    images = _images_by_stem(root / "JPEGImages", source)
    lists = {split: _voc_list(root / "ImageSets" / "Main" / f"{split}.txt") for split in ("train", "val")}
    if not lists["train"]:
        lists = _divide(sorted(files), val_fraction, source)
    for split, stems in lists.items():
        source.splits[split] = []
        for stem in stems or ():
            _add(source, split, stem, images, files.get(stem), _read_xml)
    names = sorted({entry["name"] for items in source.splits.values() for item in items for entry in item.objects})
    source.classes = _class_list(classes or names, source)
    _drop_unknown(source)
    return source


def read_yolo(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read ``images/`` and ``labels/``, divided into ``train/`` and ``val/`` below or above them, or not.

    A label line is ``class cx cy width height`` or ``class x1 y1 x2 y2 x3 y3 ...``, a polygon; in parts of the
    image's size, as it is seen upright. An image without a label file holds no object.

    Args:
        root: of the data set.
        classes: names in the order of labels; by default those of ``data.yaml`` (or another ``.yaml`` with
            ``names``), or of ``classes.txt`` in the root or in ``labels/``.
        val_fraction: as of ``read_voc``.

    Raises:
        InputError: no images or no class names are found.
    """
    source = SourceSet("YOLO")
    source.classes = _class_list(classes or _yolo_classes(root), source)
    for split, (image_dir, label_dir) in _yolo_folders(root).items():
        images = _images_by_stem(image_dir, source)
        labels = {path.stem: path for path in sorted(label_dir.glob("*.txt")) if path.name != "classes.txt"}
        stems = sorted({*images, *labels})
        lists = _divide(stems, val_fraction, source) if split == "all" else {split: stems}
        for name, members in lists.items():
            source.splits[name] = []
            for stem in members:
                _add(source, name, stem, images, labels.get(stem), _read_lines)
    if not any(source.splits.values()):
        raise InputError(f"{root} holds no images in images/ (or train/images/). Give the folder of a YOLO data set.")
    return source


def _add(
    source: SourceSet,
    split: str,
    stem: str,
    images: dict[str, Path],
    annotation: Path | None,
    read: Callable[[Path, ImageFacts, SourceSet], list[dict]],
) -> None:
    """Read one image and its annotation file into a split."""
    if stem not in images:
        source.places["absent image"].append(stem)
        return
    if annotation is None and source.kind == "VOC":
        source.places["missing annotation"].append(stem)
        return
    facts = read_facts(images[stem], decode=False)
    if facts.reason:
        source.places["broken image"].append(f"{images[stem].name} ({facts.reason})")
        return
    objects = read(annotation, facts, source) if annotation else []
    source.splits[split].append(Item(images[stem], facts.width, facts.height, objects))


def _read_xml(path: Path, facts: ImageFacts, source: SourceSet) -> list[dict]:
    try:
        tree = ElementTree.parse(path).getroot()
        size = tuple(int(tree.findtext(f"size/{side}") or 0) for side in ("width", "height"))
        objects = [_voc_object(node) for node in tree.iter("object")]
    except (ElementTree.ParseError, UnicodeDecodeError, TypeError, ValueError) as error:
        source.places["broken annotation"].append(f"{path.name} ({error})")
        return []
    if all(size) and size != (facts.width, facts.height):
        source.places["image size"].append(
            f"{path.name} (annotated {size[0]}x{size[1]}, read {facts.width}x{facts.height})"
        )
    return objects


def _voc_object(node: ElementTree.Element) -> dict:
    name = (node.findtext("name") or "").strip()
    if not name:
        raise ValueError("an object without a name")
    corners = [node.findtext(f"bndbox/{side}") for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in corners:
        raise ValueError(f"{name} without xmin, ymin, xmax, ymax")
    left, top, right, bottom = map(float, corners)
    flags = {key: int(node.findtext(key) or 0) for key in ("difficult", "truncated")}
    box = [left - 1, top - 1, right - left + 1, bottom - top + 1]
    return dict(name=name, bbox=box, iscrowd=int(flags["difficult"] > 0), **flags)


def _read_lines(path: Path, facts: ImageFacts, source: SourceSet) -> list[dict]:
    objects = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        if not line.strip():
            continue
        place = f"{path.name} line {number}"
        try:
            label, *values = (float(value) for value in line.split())
            shape = _yolo_shape(values, facts)
        except ValueError as error:
            source.places["broken annotation"].append(f"{place} ({error})")
            continue
        if label not in range(len(source.classes)):
            source.places["unknown class"].append(f"{place} (class {label:g} of {len(source.classes)})")
            continue
        objects.append(dict(name=source.classes[int(label)], **shape))
    return objects


def _yolo_shape(values: list[float], facts: ImageFacts) -> dict:
    """Box, and polygon if that is what ``values`` are, in pixels."""
    if len(values) == 4:
        x, y, width, height = values
        box = [(x - width / 2) * facts.width, (y - height / 2) * facts.height]
        return dict(bbox=[*box, width * facts.width, height * facts.height])
    if len(values) < 6 or len(values) % 2:
        raise ValueError(f"{len(values) + 1} numbers, not 5 of a box or an odd number from 7 of a polygon")
    xs, ys = [x * facts.width for x in values[::2]], [y * facts.height for y in values[1::2]]
    polygon = [number for point in zip(xs, ys, strict=True) for number in point]
    return dict(bbox=[min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)], segmentation=[polygon])


def _area(entry: dict) -> float:
    if "segmentation" not in entry:
        return entry["bbox"][2] * entry["bbox"][3]
    (numbers,) = entry["segmentation"]
    xs, ys = numbers[::2], numbers[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2


def _images_by_stem(folder: Path, source: SourceSet) -> dict[str, Path]:
    """Images of a folder by the name that annotation files share; two of a name cannot be told apart."""
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in found:
            source.places["duplicate name"].append(f"{found[path.stem].name} and {path.name}")
        found[path.stem] = path
    return found


def _voc_list(path: Path) -> list[str]:
    if not path.is_file():
        return []
    names = [line.split()[0] for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    return list(dict.fromkeys(names))


def _divide(stems: list[str], val_fraction: float, source: SourceSet) -> dict[str, list[str]]:
    """Draw a validation split, the same one each time."""
    count = min(max(1, round(len(stems) * val_fraction)), len(stems) - 1)
    chosen = set(random.Random(_SEED).sample(stems, max(count, 0)))
    source.divided = True
    return dict(train=[s for s in stems if s not in chosen], val=[s for s in stems if s in chosen])


def _class_list(names: Sequence[str], source: SourceSet) -> list[str]:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        source.places["class twice"] += twice
    return list(dict.fromkeys(names))


def _drop_unknown(source: SourceSet) -> None:
    for item in (item for items in source.splits.values() for item in items):
        unknown = [entry["name"] for entry in item.objects if entry["name"] not in source.classes]
        source.places["unknown class"] += [f"{name} in {item.path.stem}.xml" for name in unknown]
        item.objects = [entry for entry in item.objects if entry["name"] in source.classes]


def _yolo_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Image and label folder of each split; of "all" where there are no splits."""
    found = {}
    for split, names in (("train", ("train",)), ("val", _VAL_NAMES)):
        for name in names:
            for parts in (("{}", name), (name, "{}")):
                pair = tuple(root.joinpath(*(part.format(kind) for part in parts)) for kind in ("images", "labels"))
                if all(folder.is_dir() for folder in pair):
                    found.setdefault(split, pair)
    if not found and (root / "images").is_dir() and (root / "labels").is_dir():
        found["all"] = (root / "images", root / "labels")
    return found


def _yolo_classes(root: Path) -> list[str]:
    for path in sorted(root.glob("*.y*ml"), key=lambda path: path.stem != "data"):
        try:
            names = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("names")
        except (yaml.YAMLError, AttributeError) as error:
            raise InputError(f"{path} cannot be read as YAML ({error}). Correct it, or give --classes FILE.") from error
        if names:
            ordered = [names[key] for key in sorted(names)] if isinstance(names, dict) else names
            return [str(name) for name in ordered]
    for path in (root / "classes.txt", root / "labels" / "classes.txt"):
        if path.is_file():
            return read_class_file(path)
    raise InputError(
        f"{root} names no classes. Give --classes FILE, one name a line in the order of the labels, or put it there "
        "as classes.txt, or data.yaml with names."
    )


def read_class_file(path: str | Path) -> list[str]:
    """Class names of a text file, one a line, or of a JSON file with a list.

    Raises:
        InputError: no such file, or no names in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows editors begin a file with a mark
        names = json.loads(text) if Path(path).suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"Class file {path} cannot be read ({error}). It holds one name a line.") from error
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        names = []
    names = [str(name).strip() for name in names if str(name).strip()]
    if not names:
        raise InputError(f"Class file {path} names no classes. It holds one name a line, or a JSON list of names.")
    return names
