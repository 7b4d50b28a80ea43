"""Reads a whole data set of any known layout before anyone trains: what is in it, and what would go wrong."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from ....errors import InputError
from ..choice import EVERYTHING, Choice, new_names
from ..faults import Fault, found
from ..formats.find import FOLDERS, FORMATS, MASKS, find_format, split_folders
from ..formats.sources import VAL_FRACTION
from ..image_check import SUFFIXES, ImageFacts, complaints, read_images, read_many
from ..layouts.class_folders import AS_TIMM_READS, images_by_class
from ..layouts.coco_check import MIN_SIZE, category_names, chosen_annotations, inspect_coco
from ..layouts.coco_file import UNANNOTATED, find_coco, keep_annotations
from ..layouts.mask_files import (
    Labels,
    MaskFacts,
    class_faults,
    found_labels,
    mask_faults,
    pair_files,
    read_labels,
    read_mask,
)
from ..layouts.mask_folders import MaskFolder, SplitFiles, find_mask_folder

_FILTERED = dict(min_size=MIN_SIZE, filter_empty_gt=True)  # as the configs' data sets do

Progress = Callable[[str, int, int], None]


@dataclass
class Sample:
    """An image of a split and what is drawn over it.

    size: (width, height) as annotated, if it is. boxes: (label, [x, y, width, height]) in pixels. polygons: (label,
    [x1, y1, ...]). mask: its file. label: of the whole picture.
    """

    path: Path
    size: tuple[int, int] | None = None
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
        faults: of it, fatal ones and others.
    """

    name: str
    unit: str
    samples: list[Sample] = field(default_factory=list)
    histogram: Counter = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def read_images(self, decode: bool, progress: Progress) -> dict[Path, ImageFacts]:
        """Facts of what lies where images should; adds their faults and sizes."""
        images = {sample.path: sample.size for sample in self.samples if os.path.lexists(sample.path)}
        facts, faults = read_images(images, decode, partial(progress, self.name))
        self.faults += faults
        if decode:
            said = complaints(path for path, fact in facts.items() if not fact.reason)
            self.faults += found({"damaged image": [f"{Path(path).name} ({text})" for path, text in said.items()]})
        self.sizes = [(fact.width, fact.height) for fact in facts.values() if not fact.reason]
        return facts


@dataclass
class Report:
    """A data set: its layout, classes and splits; in words, what was taken for granted of them."""

    layout: str
    classes: list[str]
    splits: list[SplitReport]
    remark: str = ""

    @property
    def fails(self) -> bool:
        return any(fault.fatal for split in self.splits for fault in split.faults)


def check_dataset(
    root: str | os.PathLike,
    choice: Choice = EVERYTHING,
    decode: bool = True,
    progress: Progress = lambda split, done, total: None,
) -> Report:
    """Recognise the layout of the data set in ``root`` and read all of it.

    Args:
        root: folder in any layout that ``formats`` knows.
        choice: of classes; its ``file`` has the names in the order of labels, for layouts whose files may not have
            them: one a line, or a JSON list; for masks also a JSON object of value and name.
        decode: read the pixels of all images; else only their headers, which misses truncated files.
        progress: called with the split, and images done and in all.

    Raises:
        InputError: the layout is not known, or so broken that nothing can be counted.
    """
    root = Path(root)
    name = find_format(root)
    if name == MASKS:
        return _masks(root, choice, decode, progress)
    report = {"COCO": _coco, FOLDERS: _folders}.get(name, _source)(root, choice)
    for split in report.splits:
        split.read_images(decode, progress)
        if name == FOLDERS:
            split.faults = [replace(each, kind=AS_TIMM_READS.get(each.kind, each.kind)) for each in split.faults]
    return report


def add_absent(
    splits: list[SplitReport], parts: Sequence[str] = (), how: str = "convert-dataset draws some"
) -> None:
    """Add a fault of each split that training reads and that is not among ``parts``, by default the splits' names."""
    names = parts or [split.name for split in splits]
    absent = [need for need in ("train", "val") if not any(name.startswith(need) for name in names)]
    splits[0].faults += found({"absent split": absent}, how=how)


# COCO, and what is read as if it were.


def _coco(root: Path, choice: Choice) -> Report:
    splits, names, parts = [], None, find_coco(root)
    pairs = choice.of_named([str(part.path) for part in parts], category_names)
    for found_split in parts:
        split = SplitReport(found_split.name, "boxes")
        splits.append(split)
        try:
            content = chosen_annotations(str(found_split.path), pairs, choice.boxes_as_masks)
            own = new_names(pairs) if pairs else list(category_names(str(found_split.path)))
        except InputError as error:
            split.faults += found({"annotation file": [str(error).removesuffix(".")]})
            continue
        if content.get(UNANNOTATED):
            split.faults += found({"unannotated": [found_split.path.name]} if found_split.split != "test" else {})
        names = names or own
        if own != names:
            split.faults += found({"other categories": sorted({*own} ^ {*names}) or ["another order"]})
        _inspect(split, content, own, found_split.images, found_split.split)
    add_absent(splits, [part.split for part in parts])
    keep_annotations()
    return Report("COCO", names or [], splits)


def _source(root: Path, choice: Choice) -> Report:
    source = FORMATS[find_format(root)].read(root, choice.names, VAL_FRACTION)
    source.choose(choice)
    splits = []
    for name, items in source.splits.items():
        split = SplitReport(name, "boxes")
        splits.append(split)
        if not items:
            split.faults += found({"empty split": [name]})
            continue
        folder = source.folder(name)
        _inspect(split, source.coco(name, folder), source.classes, folder, name)
    if not splits:
        raise InputError(f"{root} ({source.kind}) holds no images with annotations.")
    splits[0].faults += source.faults()  # of files that belong to no split, perhaps
    remark = f"{VAL_FRACTION:.0%} of the images drawn for validation" if source.divided else ""
    return Report(source.kind, source.classes, splits, remark)


def _inspect(split: SplitReport, content: dict, classes: list[str], image_dir: Path, part: str) -> None:
    """Count and check what is in COCO's format, as ``part``: "train", "val", ..."""
    filtered = _FILTERED if part == "train" else None
    faults = inspect_coco(content, str(image_dir), classes, evaluated=not filtered, shapes=True, filtered=filtered)
    split.faults += faults
    if any(fault.kind.endswith(" entry") for fault in faults):
        return
    label = {category["id"]: index for index, category in enumerate(content["categories"])}
    samples = {
        image["id"]: Sample(image_dir / image["file_name"], (image["width"], image["height"]))
        for image in content["images"]
    }
    for entry in content["annotations"]:
        if entry["image_id"] not in samples or entry["category_id"] not in label:
            continue
        sample, index = samples[entry["image_id"]], label[entry["category_id"]]
        sample.boxes.append((index, entry["bbox"]))
        shapes = entry.get("segmentation")
        sample.polygons += [(index, numbers) for numbers in shapes] if isinstance(shapes, list) else []
        split.histogram[index] += 1
    split.samples = list(samples.values())
    names = Counter(image["file_name"] for image in content["images"])
    split.faults += found({"duplicate name": [name for name, count in names.items() if count > 1]})


# Images and masks.


def _masks(root: Path, choice: Choice, decode: bool, progress: Progress) -> Report:
    folder, labels, splits = read_folder(root, choice, decode, progress)
    if folder.known and not folder.class_file and not choice.file:
        remark = f"the classes of {folder.kind}; {folder.convention}"
    elif folder.class_file or choice.file:
        remark = f"{folder.convention}, as far as the list of classes does not name them"
    else:
        remark = f"no list of classes, so each value is one; {folder.convention}"
    add_absent(splits)
    return Report(folder.kind, list(labels.classes), splits, remark)


def read_folder(
    root: Path,
    choice: Choice,
    decode: bool = False,
    progress: Progress = lambda *_: None,
    by_colour: bool = False,
) -> tuple[MaskFolder, Labels, list[SplitReport]]:
    """Read all of a folder of images and masks: what it is, what its values mean, and what was found in each split.

    Args:
        root, choice, decode, progress: as of ``dataset_check.check_dataset``.
        by_colour: colours of masks that stand for classes are to be converted, so they are no fault.

    Raises:
        InputError: there are no such folders; the list of classes cannot be used.
    """
    folder = find_mask_folder(root)
    if folder is None or not folder.splits:
        raise InputError(
            f"{root} has no folders of images and masks called train and val (training, validation, valid). Divide "
            "both alike."
        )
    labels = read_labels(folder, choice.file, choice.void)
    splits, read = [], []
    for name, files in folder.splits.items():
        split, masks = _read_split(name, files, decode, progress, folder.colours if by_colour else {})
        splits.append(split)
        read.append(masks)
    if not labels.named:
        labels = found_labels(folder, [facts for masks in read for _, facts, _ in masks], labels.void)
    labels = labels.chosen(choice)
    for split, masks in zip(splits, read, strict=True):
        split.faults += mask_faults(masks, labels, folder.first)
        split.histogram = Counter(
            labels.classes.index(name)
            for _, facts, _ in masks
            for name in {name for value, name in labels.named.items() if value in facts.values}
        )
    splits[0].faults += class_faults(labels)
    return folder, labels, splits


def _read_split(
    name: str,
    files: SplitFiles,
    decode: bool,
    progress: Progress,
    colours: Mapping[tuple[int, int, int], int],
) -> tuple[SplitReport, list[tuple[str, MaskFacts, ImageFacts]]]:
    pairs = pair_files(files.images, files.masks, files.endings, files.listed)
    split = SplitReport(name, "masks")
    split.samples = [Sample(path, mask=pairs.masks.get(stem)) for stem, path in pairs.images.items()]
    split.faults += found(
        {
            "empty split": [] if pairs.images else [str(files.images)],
            "duplicate name": pairs.twice,
            "absent image": [path.name for path in pairs.images.values() if not path.is_file()],
            "missing mask": [path.name for stem, path in pairs.images.items() if stem not in pairs.masks],
            "stray mask": [path.name for stem, path in pairs.masks.items() if stem not in pairs.images],
        }
    )
    images = split.read_images(decode, progress)
    paired = [(sample.mask, images[sample.path]) for sample in split.samples if sample.mask and sample.path in images]
    facts = read_many(partial(read_mask, colours=colours), [mask for mask, _ in paired])
    return split, [(mask.name, fact, image) for (mask, image), fact in zip(paired, facts, strict=True)]


# Class folders.


def _folders(root: Path, choice: Choice) -> Report:
    splits, names = [], choice.names
    for name, folder in split_folders(root).items():
        split = SplitReport(name, "images")
        by_class, faults = images_by_class(str(folder))
        names = names or list(by_class)
        split.faults += found({"class folders": sorted({*by_class} ^ {*names})}) + faults
        for own, images in by_class.items():
            label = names.index(own) if own in names else None
            split.samples += [Sample(Path(path), label=label) for path in images]
            if label is not None:
                split.histogram[label] += len(images)
        files = (path for own in by_class for path in sorted((folder / own).iterdir()) if path.is_file())
        stray = [str(path.relative_to(folder)) for path in files if path.suffix.lower() not in SUFFIXES]
        split.faults += found({"stray file": stray})
        splits.append(split)
    add_absent(splits, how="move some of each class to a folder val/ of the same classes")
    return Report("ImageFolder", names, splits)
