"""Reads a whole data set of any known layout before anyone trains: what is in it, and what would go wrong."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from ...errors import InputError
from ..classification.folders import AS_TIMM_READS, class_folders, folder_faults
from .choice import EVERYTHING, Choice, new_names
from .coco_check import MIN_SIZE, category_names, chosen_annotations, inspect_coco
from .coco_file import UNANNOTATED, find_coco, keep_annotations
from .faults import found
from .formats import FOLDERS, FORMATS, MASKS, find_format, split_folders
from .image_check import SUFFIXES
from .mask_check import read_folder
from .sources import VAL_FRACTION
from .split_report import Progress, Report, Sample, SplitReport, add_absent

_FILTERED = dict(min_size=MIN_SIZE, filter_empty_gt=True)  # as the configs' data sets do


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
    if name == FOLDERS:
        return _folders(root, choice.names, decode, progress)
    return (_coco if name == "COCO" else _source)(root, choice, decode, progress)


# COCO, and what is read as if it were.


def _coco(root: Path, choice: Choice, decode: bool, progress: Progress) -> Report:
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
        _inspect(split, content, own, found_split.images, decode, progress, found_split.split)
    add_absent(splits, [part.split for part in parts])
    keep_annotations()
    return Report("COCO", names or [], splits)


def _source(root: Path, choice: Choice, decode: bool, progress: Progress) -> Report:
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
        _inspect(split, source.coco(name, folder), source.classes, folder, decode, progress, name)
    if not splits:
        raise InputError(f"{root} ({source.kind}) holds no images with annotations.")
    splits[0].faults += source.faults()  # of files that belong to no split, perhaps
    remark = f"{VAL_FRACTION:.0%} of the images drawn for validation" if source.divided else ""
    return Report(source.kind, source.classes, splits, remark)


def _inspect(
    split: SplitReport,
    content: dict,
    classes: list[str],
    image_dir: Path,
    decode: bool,
    progress: Progress,
    part: str,
) -> None:
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
    split.read_images(decode, progress)
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


# Class folders.


def _folders(root: Path, classes: Sequence[str], decode: bool, progress: Progress) -> Report:
    splits, names = [], list(classes)
    for name, folder in split_folders(root).items():
        split, own = SplitReport(name, "images"), class_folders(folder)
        names = names or list(own)
        split.faults += found({"class folders": sorted({*own} ^ {*names})}) + folder_faults(folder)
        _read_folders(split, [folder / each for each in own], names)
        split.read_images(decode, progress)
        split.faults = [replace(each, kind=AS_TIMM_READS.get(each.kind, each.kind)) for each in split.faults]
        splits.append(split)
    add_absent(splits, how="move some of each class to a folder val/ of the same classes")
    return Report("ImageFolder", names, splits)


def _read_folders(split: SplitReport, folders: Iterable[Path], names: list[str]) -> None:
    stray = []
    for folder in folders:
        label = names.index(folder.name) if folder.name in names else None
        files = sorted(path for path in folder.iterdir() if path.is_file())
        images = [path for path in files if path.suffix.lower() in SUFFIXES]
        stray += [str(path.relative_to(folder.parent)) for path in files if path not in images]
        split.samples += [Sample(path, label=label) for path in images]
        if label is not None:
            split.histogram[label] += len(images)
    split.faults += found({"stray file": stray})
