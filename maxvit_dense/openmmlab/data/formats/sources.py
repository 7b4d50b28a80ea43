"""A data set of boxes or polygons in any format, in one form: images with objects, and where what is wrong was found.

Readers (``voc``, ``yolo``, ``labelme``, and COCO's own here) give a ``SourceSet``; checks and the converter take it.
Needs Pillow only.
"""

import filecmp
import os
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..choice import Choice, corners
from ..faults import Fault, found
from ..image_check import SUFFIXES, ImageFacts, other_size, read_facts
from ..layouts.coco_file import MENDED, area, find_coco, is_polygon, read_annotations

_FIRST_ID = {"train": 1, "val": 1_000_001}  # image ids are unique over both splits
_SEED = 0
_Member = tuple[str, Path | None, Path | None]  # name, image and annotation file
VAL_FRACTION = 0.2  # of the images, drawn where no validation images are named


@dataclass
class Item:
    """An image with its objects; an object is an annotation of COCO without ids, with its class by name.

    upright: None, or that a copy is to be turned as its EXIF orientation says (True), or not to be (False).
    """

    path: Path
    width: int
    height: int
    objects: list[dict[str, Any]] = field(default_factory=list)
    upright: bool | None = None


@dataclass
class SourceSet:
    """A data set as its annotation files have it.

    Attributes:
        kind: its format: "VOC", "YOLO", ...
        classes: names in the order of labels.
        splits: items of "train" and "val".
        divided: True where the files have no validation list and one was drawn.
        filled: boxes that stand for a mask.
        places: where each kind of fault was found.
    """

    kind: str
    classes: list[str] = field(default_factory=list)
    splits: dict[str, list[Item]] = field(default_factory=dict)
    divided: bool = False
    filled: int = 0
    places: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def faults(self) -> list[Fault]:
        return found(self.places)

    def folder(self, split: str) -> Path:
        """The folder that all images of a split lie in, or below."""
        return Path(os.path.commonpath([item.path.parent for item in self.splits[split]]))

    def coco(self, split: str, folder: Path | None = None) -> dict[str, Any]:
        """One split in COCO's format; each ``file_name`` is relative to ``folder``, or the bare name."""
        label = {name: index for index, name in enumerate(self.classes, 1)}
        images, annotations = [], []
        for image_id, item in enumerate(self.splits[split], _FIRST_ID.get(split, 1)):
            name = str(item.path.relative_to(folder)) if folder else item.path.name
            images.append(dict(id=image_id, file_name=name, width=item.width, height=item.height))
            for entry in item.objects:
                record = {key: value for key, value in entry.items() if key != "name"}
                ids = dict(id=len(annotations) + 1, image_id=image_id, category_id=label[entry["name"]])
                annotations.append({**ids, "area": area(entry), "iscrowd": 0, **record})
        categories = [dict(id=index, name=name) for name, index in label.items()]
        return dict(images=images, annotations=annotations, categories=categories)

    def choose(self, choice: Choice) -> None:
        """Leave out, merge, rename and order classes, and give boxes for masks.

        Raises:
            InputError: as ``Choice.pairs``.
        """
        objects = [entry for items in self.splits.values() for item in items for entry in item.objects]
        if choice.boxes_as_masks:
            bare = [entry for entry in objects if not entry.get("segmentation")]
            self.filled = len(bare)
            for entry in bare:
                entry["segmentation"] = [corners(entry["bbox"])]
        if choice.selects:
            new = dict(choice.pairs(self.classes))
            for item in (item for items in self.splits.values() for item in items):
                item.objects = [{**entry, "name": new[entry["name"]]} for entry in item.objects if entry["name"] in new]
            self.classes = list(dict.fromkeys(new.values()))

    def mend(self) -> dict[str, int]:
        """Put right what has one right answer and is not put right on reading; how many of each kind.

        Boxes are clipped to their image, objects with nothing inside left out, flat lists of a polygon's numbers put
        into a list, images turned upright, or their EXIF orientation dropped where the annotations are of the image
        before the turn.
        """
        counts = defaultdict(int)
        for item in (item for items in self.splits.values() for item in items):
            facts = read_facts(item.path, decode=False)
            if "rotated image" in facts.kinds:
                item.upright = (item.width, item.height) != facts.stored or facts.stored[0] == facts.stored[1]
                counts["images turned upright" if item.upright else "EXIF orientations dropped"] += 1
            for entry in item.objects:
                shape = entry.get("segmentation")
                if is_polygon(shape):
                    entry["segmentation"] = [shape]
                    counts["polygons put into a list"] += 1
                x, y, width, height = entry["bbox"]
                left, top = min(max(x, 0), item.width), min(max(y, 0), item.height)
                right, bottom = min(max(x + width, 0), item.width), min(max(y + height, 0), item.height)
                if [left, top, right - left, bottom - top] != [x, y, width, height] and right - left == right - left:
                    entry["bbox"] = [left, top, right - left, bottom - top]
                    entry.pop("area", None)
                    counts["boxes clipped"] += 1
            kept = [entry for entry in item.objects if entry["bbox"][2] >= 1 and entry["bbox"][3] >= 1]
            counts["empty objects left out"] += len(item.objects) - len(kept)
            item.objects = kept
        return {kind: count for kind, count in counts.items() if count}


def read_coco_folder(root: Path, classes: Sequence[str] = (), val_fraction: float = 0.2) -> SourceSet:
    """Read COCO files under any names; a split is drawn where none is named.

    Args:
        root: of the data set.
        classes: names in the order of labels; by default those of the files.
        val_fraction: as of ``voc.read_voc``.

    Raises:
        InputError: as ``read_annotations``.
    """
    source = SourceSet("COCO")
    names, splits = {}, {}
    for part in find_coco(root):
        content = read_annotations(part.path)
        for kind, places in content[MENDED].items():
            source.places[kind] += places
        items = {image["id"]: Item(part.images / image["file_name"], *_size(image)) for image in content["images"]}
        by_id = {category["id"]: category["name"] for category in content["categories"]}
        names |= dict.fromkeys(by_id.values())
        for entry in content["annotations"]:
            kept = {key: value for key, value in entry.items() if key not in ("id", "image_id", "category_id")}
            items[entry["image_id"]].objects.append(dict(kept, name=by_id[entry["category_id"]]))
        splits[part.split] = list(items.values())
    if "val" not in splits and "test" in splits and "train" in splits:
        splits["val"] = splits.pop("test")
    splits.pop("test", None)
    whole = splits.pop("all", None) or (splits.pop("train") if "val" not in splits else None)
    if whole is not None:
        splits = divide(whole, val_fraction, source)
    source.splits = splits
    source.classes = class_list(names, source)
    if classes:
        source.choose(Choice(keep=classes))
    return source


def _size(image: Mapping[str, Any]) -> tuple[int, int]:
    return int(image["width"]), int(image["height"])


def fill(
    source: SourceSet,
    members: Mapping[str, Sequence[_Member]],
    val_fraction: float,
    read: Callable[[Path, ImageFacts, SourceSet], list[dict]],
    needed: bool = True,
) -> None:
    """Read images and their annotation files into the splits "train" and "val" of ``source``.

    Args:
        members: of "train" and "val", or of "all"; others, as "test", stay apart.
        val_fraction: drawn for validation where there is no "val".
        read: the objects of an annotation file.
        needed: each image has one.
    """
    train = members.get("train") or members.get("all") or []
    parts = dict(train=train, val=members["val"]) if "val" in members else divide(train, val_fraction, source)
    for split, files in parts.items():
        items = [_item(source, *member, read, needed) for member in files]
        source.splits[split] = [item for item in items if item]
    trained = {item.path.name: item.path for item in source.splits["train"]}
    both = [item.path for item in source.splits["val"] if item.path.name in trained]
    same = [path.name for path in both if filecmp.cmp(path, trained[path.name], shallow=False)]
    source.places["both splits"] += same


def _item(
    source: SourceSet, name: str, image: Path | None, annotation: Path | None, read: Callable, needed: bool
) -> Item | None:
    if image is None or (annotation is None and needed):
        source.places["absent image" if image is None else "missing annotation"].append(name)
        return None
    facts = read_facts(image, decode=False)
    if facts.reason:
        source.places["broken image"].append(f"{image.name} ({facts.reason})")
        return None
    return Item(image, facts.width, facts.height, read(annotation, facts, source) if annotation else [])


def compare_size(source: SourceSet, path: Path, size: tuple[int, int], facts: ImageFacts) -> None:
    """Tell an annotation file that says another size of its image than is read."""
    if all(size) and (words := other_size(size, facts)):
        source.places["image size"].append(f"{path.name} ({words})")


def images_by_stem(paths: Iterable[Path], source: SourceSet) -> dict[str, Path]:
    """Images by the name that annotation files share; two of a name cannot be told apart."""
    images = {}
    for path in sorted(paths):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if path.stem in images:
            source.places["duplicate name"].append(f"{images[path.stem].name} and {path.name}")
        images[path.stem] = path
    return images


def divide(members: Sequence[Any], val_fraction: float, source: SourceSet) -> dict[str, list[Any]]:
    """Draw a validation split, the same one each time."""
    count = min(max(1, round(len(members) * val_fraction)), len(members) - 1)
    chosen = set(random.Random(_SEED).sample(range(len(members)), max(count, 0)))
    source.divided = True
    parts = dict(train=[], val=[])
    for index, member in enumerate(members):
        parts["val" if index in chosen else "train"].append(member)
    return parts


def class_list(names: Iterable[str], source: SourceSet) -> list[str]:
    names = list(names)
    source.places["class twice"] += sorted({name for name in names if names.count(name) > 1})
    return list(dict.fromkeys(names))


def settle_classes(source: SourceSet, classes: Sequence[str]) -> None:
    """The classes of a format whose objects name theirs: those given, or else all that occur, sorted."""
    objects = [(e["name"], item) for items in source.splits.values() for item in items for e in item.objects]
    source.classes = class_list(classes or sorted({name for name, _ in objects}), source)
    for name, item in objects:
        if name not in source.classes:
            source.places["unknown class"].append(f"{name} of {item.path.name}")
    for item in {id(item): item for _, item in objects}.values():
        item.objects = [entry for entry in item.objects if entry["name"] in source.classes]
