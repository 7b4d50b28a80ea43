"""Reads a whole data set of any known layout before anyone trains: what is in it, and what would go wrong."""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from .coco_check import Fault, category_names, inspect_coco, read_annotations
from .image_check import SUFFIXES, ImageFacts, image_faults, read_facts
from .voc_yolo import is_voc, is_yolo, read_class_file, read_voc, read_yolo

IGNORED_LABEL = 255  # of masks: no class, no loss
_ADE_CLASSES = 150
_MASK_MODES = ("L", "P", "1")  # one byte a pixel
_MASK_SPLITS = {"train": ("training", "train"), "val": ("validation", "val", "valid")}
_FOLDER_SPLITS = {"train": ("train",), "val": ("val", "valid", "validation", "test")}
_EXAMPLES = 5
# Faults of annotation files that training leaves out by itself.
_NOTED = ("empty box",)

_MASK_FAULTS = {
    "missing mask": ("images have no mask", "Put it beside the others, under the same name with .png."),
    "missing image": ("masks have no image", "Put it there, or remove the mask."),
    "broken mask": ("masks cannot be read", "Export them again."),
    "colour mask": ("masks hold colours or more than 8 bits, not labels", "Write one channel of 8 bits, or a palette."),
    "mask size": ("masks are of another size than their image as training reads it", "Export them again."),
    "label value": ("masks hold values outside the class list", "Correct them, or list the classes."),
    "empty mask": ("masks without any labelled pixel", "Training learns nothing from them."),
    "duplicate name": ("images of the same name", "Keep one of each."),
    "stray file": ("files that are no images", "Training leaves them out."),
    "empty class": ("class folders without images", "Add images or remove the folder."),
    "class folders": ("class folders of one split only", "Give both splits the same class folders."),
}
_MASK_NOTES = ("empty mask", "stray file")


@dataclass
class Sample:
    """An image of a split and what is drawn over it.

    boxes: (label, [x, y, width, height]) in pixels. polygons: (label, [x1, y1, ...]). mask: its file. label: of the
    whole picture.
    """

    path: Path
    boxes: list[tuple[int, list[float]]] = field(default_factory=list)
    polygons: list[tuple[int, list[float]]] = field(default_factory=list)
    mask: Path | None = None
    label: int | None = None


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        samples: all its images.
        histogram: objects, images or masks of each class, as ``unit`` says.
        sizes: (width, height) of each image that could be read, as training reads it.
        fatal, notes: faults that training would fail or go wrong with, and the others.
    """

    name: str
    unit: str
    samples: list[Sample] = field(default_factory=list)
    histogram: Counter = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    fatal: list[Fault] = field(default_factory=list)
    notes: list[Fault] = field(default_factory=list)

    def add(self, fault: Fault, fatal: bool) -> None:
        (self.fatal if fatal else self.notes).append(fault)


@dataclass
class Report:
    """A data set: its layout, classes and splits."""

    layout: str
    classes: list[str]
    splits: list[SplitReport]

    @property
    def fails(self) -> bool:
        return any(split.fatal for split in self.splits)


Progress = Callable[[str, int, int], None]


def check_dataset(
    root: str | os.PathLike,
    classes: Sequence[str] = (),
    decode: bool = True,
    progress: Progress = lambda split, done, total: None,
) -> Report:
    """Recognise the layout of the data set in ``root`` and read all of it.

    Args:
        root: folder in the layout of COCO, ADE20K (images and masks), ImageFolder, Pascal VOC or YOLO.
        classes: names in the order of labels, for layouts whose files may not have them.
        decode: read the pixels of all images; else only their headers, which misses truncated files.
        progress: called with the split, and images done and in all.

    Raises:
        InputError: the layout is not known, or so broken that nothing can be counted.
    """
    root = Path(root)
    read = {"COCO": _coco, "VOC": _source, "YOLO": _source, "masks": _masks, "ImageFolder": _folders}[find_layout(root)]
    return read(root, classes, decode, progress)


def find_layout(root: Path) -> str:
    """The layout of a folder: "COCO", "VOC", "YOLO", "masks" or "ImageFolder".

    Raises:
        InputError: it is none of them.
    """
    if not root.is_dir():
        raise InputError(f"There is no folder {root}. Give that of a data set.")
    if _coco_files(root):
        return "COCO"
    if is_voc(root):
        return "VOC"
    if is_yolo(root):
        return "YOLO"
    if _mask_root(root):
        return "masks"
    if any(_class_folders(root / name) for names in _FOLDER_SPLITS.values() for name in names):
        return "ImageFolder"
    raise InputError(
        f"{root} has none of the known layouts: annotations/instances_*.json (COCO), images/ and annotations/ or "
        "masks/ (segmentation), train/<class>/ (ImageFolder), Annotations/ and JPEGImages/ (VOC), images/ and labels/ "
        "(YOLO). Give the folder that holds these."
    )


def _read_images(split: SplitReport, decode: bool, progress: Progress) -> dict[Path, ImageFacts]:
    """Facts of a split's images that exist; adds their faults and sizes to ``split``."""
    facts = {}
    for done, sample in enumerate(split.samples, 1):
        if sample.path.is_file():
            facts[sample.path] = read_facts(sample.path, decode)
        progress(split.name, done, len(split.samples))
    for fatal, fault in image_faults((path.name, fact) for path, fact in facts.items()):
        split.add(fault, fatal)
    split.sizes = [(fact.width, fact.height) for fact in facts.values() if not fact.reason]
    return facts


# COCO, and what is read as if it were.


def _coco_files(root: Path) -> dict[str, Path]:
    files = sorted((root / "annotations").glob("instances_*.json")) if (root / "annotations").is_dir() else []
    return {path.stem.removeprefix("instances_"): path for path in files}


def _coco(root: Path, classes: Sequence[str], decode: bool, progress: Progress) -> Report:
    splits, names = [], None
    for name, path in _coco_files(root).items():
        split = SplitReport(name, "boxes")
        splits.append(split)
        try:
            content, found = read_annotations(str(path)), list(classes or category_names(str(path)))
        except InputError as error:
            split.add(Fault("annotation file", 1, "annotation file cannot be used", (str(error),), ""), True)
            continue
        names = names or found
        if found != names:
            text = "categories differ from those of the split before"
            differing = tuple(sorted({*found} ^ {*names}))[:_EXAMPLES] or ("another order",)
            split.add(Fault("categories", len(differing), text, differing, "Give all splits the same list."), True)
        _inspect(split, content, found, root / name, decode, progress)
    return Report("COCO", names or [], splits)


def _source(root: Path, classes: Sequence[str], decode: bool, progress: Progress) -> Report:
    source = (read_voc if is_voc(root) else read_yolo)(root, classes)
    splits = []
    for name, items in source.splits.items():
        split = SplitReport(name, "boxes")
        splits.append(split)
        if not items:
            split.add(Fault("empty split", 1, "split without images", (name,), "Add images or drop its list."), True)
            continue
        folders = {item.path.name: item.path.parent for item in items}
        content = source.coco(name)
        _inspect(split, content, source.classes, folders[items[0].path.name], decode, progress)
    for fault in source.faults():
        splits[0].add(fault, True)  # of files that belong to no split, perhaps
    return Report(source.kind, source.classes, splits)


def _inspect(
    split: SplitReport, content: dict, classes: list[str], image_dir: Path, decode: bool, progress: Progress
) -> None:
    """Count and check what is in COCO's format."""
    faults = inspect_coco(content, str(image_dir), classes)
    for fault in faults:
        split.add(fault, fault.kind not in _NOTED)
    if any(fault.kind.startswith("broken ") for fault in faults):
        return
    label = {category["id"]: index for index, category in enumerate(content["categories"])}
    samples = {image["id"]: Sample(image_dir / image["file_name"]) for image in content["images"]}
    for entry in content["annotations"]:
        if entry["image_id"] not in samples or entry["category_id"] not in label:
            continue
        sample, index = samples[entry["image_id"]], label[entry["category_id"]]
        sample.boxes.append((index, entry["bbox"]))
        shapes = entry.get("segmentation")
        sample.polygons += [(index, numbers) for numbers in shapes] if isinstance(shapes, list) else []
        split.histogram[index] += 1
    split.samples = list(samples.values())
    facts = _read_images(split, decode, progress)
    names = Counter(image["file_name"] for image in content["images"])
    _add_places(split, "duplicate name", [name for name, count in names.items() if count > 1])
    wrong = [
        _size_text(image, fact)
        for image in content["images"]
        if (fact := facts.get(image_dir / image["file_name"]))
        and not fact.reason
        and (image["width"], image["height"]) != (fact.width, fact.height)
    ]
    if wrong:
        text, remedy = "images whose annotated size is not that which training reads", "Export the annotations again."
        split.add(Fault("image size", len(wrong), text, tuple(wrong[:_EXAMPLES]), remedy), True)


def _size_text(image: dict, fact: ImageFacts) -> str:
    annotated = (image["width"], image["height"])
    turned = ", upright by its EXIF orientation" if "rotated image" in fact.kinds and annotated == fact.stored else ""
    return f"{image['file_name']} (annotated {annotated[0]}x{annotated[1]}, read {fact.width}x{fact.height}{turned})"


def _add_places(split: SplitReport, kind: str, places: Sequence[str]) -> None:
    text, remedy = _MASK_FAULTS[kind]
    if places:
        split.add(Fault(kind, len(places), text, tuple(places[:_EXAMPLES]), remedy), kind not in _MASK_NOTES)


# Images and masks, in the two customary layouts (ADE20K's, and images/ beside masks/).


def _mask_root(root: Path) -> tuple[Path, str, int] | None:
    """The folder with images/, the name of the masks' folder beside it, and the first class's value in masks."""
    for folder in (root, root / "ADEChallengeData2016"):  # ADE20K's archive has one folder more around it
        for masks, first in (("masks", 0), ("annotations", 1)):
            if (folder / "images").is_dir() and (folder / masks).is_dir() and not (folder / "labels").is_dir():
                return folder, masks, first
    return None


def _masks(root: Path, classes: Sequence[str], decode: bool, progress: Progress) -> Report:
    root, masks, first = _mask_root(root)
    named = _mask_classes(root, classes, first)
    # ADE20K itself comes without a list; the classes of one's own masks are then the values found.
    allowed = set(named) or (set(range(first, first + _ADE_CLASSES)) if first else set(range(IGNORED_LABEL)))
    splits = []
    for name, folders in _MASK_SPLITS.items():
        for folder in folders:
            if (root / "images" / folder).is_dir():
                pair = (root / "images" / folder, root / masks / folder)
                splits.append(_mask_split(pair, name, allowed | set(range(first)), first, decode, progress))
    if not splits:
        raise InputError(f"{root}/images has no folder train/ or val/ (training/, validation/). Divide the images.")
    found = sorted({value for split in splits for value in split.histogram})
    named = named or {value: f"value {value}" for value in found}
    index = {value: number for number, value in enumerate(named)}
    for split in splits:
        split.histogram = Counter({index[v]: count for v, count in split.histogram.items() if v in index})
    return Report("images and masks", list(named.values()), splits)


def _mask_classes(root: Path, classes: Sequence[str], first: int) -> dict[int, str]:
    """Class name by value in the masks; empty if no list gives them."""
    if classes:
        return dict(enumerate(classes, first))
    text, table = root / "classes.txt", root / "classes.json"
    if table.is_file():
        content = json.loads(table.read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return dict(sorted((int(value), str(name)) for value, name in content.items()))
    listed = text if text.is_file() else table
    return dict(enumerate(read_class_file(listed), first)) if listed.is_file() else {}


def _mask_split(
    folders: tuple[Path, Path], name: str, allowed: set[int], first: int, decode: bool, progress: Progress
) -> SplitReport:
    split = SplitReport(name, "masks")
    (images, twice), (masks, _) = map(_by_stem, folders)
    _add_places(split, "duplicate name", twice)
    _add_places(split, "missing mask", [path.name for stem, path in images.items() if stem not in masks])
    _add_places(split, "missing image", [path.name for stem, path in masks.items() if stem not in images])
    split.samples = [Sample(path, mask=masks.get(stem)) for stem, path in images.items()]
    if not split.samples:
        split.add(Fault("empty split", 1, "split without images", (str(folders[0]),), "Add images."), True)
    facts = _read_images(split, decode, progress)
    places = {kind: [] for kind in ("broken mask", "colour mask", "mask size", "label value", "empty mask")}
    for sample in split.samples:
        if sample.mask:
            _read_mask(sample.mask, facts[sample.path], allowed, first, split.histogram, places)
    for kind, found in places.items():
        _add_places(split, kind, found)
    return split


def _read_mask(
    path: Path, image: ImageFacts, allowed: set[int], first: int, histogram: Counter, places: dict[str, list[str]]
) -> None:
    """Count the classes of one mask by value, and note its faults in ``places``; below ``first`` nothing is drawn."""
    try:
        with Image.open(path) as opened:
            mode, values = opened.mode, np.asarray(opened)
    except (OSError, SyntaxError, ValueError) as error:
        places["broken mask"].append(f"{path.name} ({error})")
        return
    if mode not in _MASK_MODES:
        places["colour mask"].append(f"{path.name} (mode {mode})")
        return
    if not image.reason and values.shape != (image.height, image.width):
        height, width = values.shape
        places["mask size"].append(f"{path.name} ({width}x{height}, its image {image.width}x{image.height})")
    present = {int(value) for value in np.unique(values)} - {IGNORED_LABEL}
    beyond = sorted(present - allowed)
    if beyond:
        places["label value"].append(f"{path.name} ({', '.join(map(str, beyond[:_EXAMPLES]))})")
    labelled = present - set(range(first))
    if not labelled:
        places["empty mask"].append(path.name)
    histogram.update(labelled)


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Images of a folder and those below it, by the name that image and mask share; names that occur twice."""
    found, twice = {}, []
    for path in sorted(folder.rglob("*")):
        stem = str(path.relative_to(folder).with_suffix(""))
        if path.suffix.lower() in SUFFIXES:
            if stem in found:
                twice.append(f"{found[stem].name} and {path.name}")
            found[stem] = path
    return found, twice


# Class folders.


def _class_folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in ("images", "labels"))


def _folders(root: Path, classes: Sequence[str], decode: bool, progress: Progress) -> Report:
    splits, names = [], list(classes)
    for name, aliases in _FOLDER_SPLITS.items():
        folders = next((found for alias in aliases if (found := _class_folders(root / alias))), [])
        if not folders:
            continue
        split = SplitReport(name, "images")
        own = [folder.name for folder in folders]
        names = names or own
        _add_places(split, "class folders", sorted({*own} ^ {*names}))
        _read_folders(split, folders, names)
        _read_images(split, decode, progress)
        splits.append(split)
    return Report("ImageFolder", names, splits)


def _read_folders(split: SplitReport, folders: Iterable[Path], names: list[str]) -> None:
    stray, empty = [], []
    for folder in folders:
        label = names.index(folder.name) if folder.name in names else None
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        stray += [str(path.relative_to(folder.parent)) for path in files if path not in images]
        empty += [] if images else [folder.name]
        split.samples += [Sample(path, label=label) for path in images]
        if label is not None:
            split.histogram[label] += len(images)
    _add_places(split, "empty class", empty)
    _add_places(split, "stray file", stray)
