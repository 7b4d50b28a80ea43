"""Reads the masks of a data set before anyone trains on it. Needs Pillow and numpy only."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from pathlib import Path

from ...errors import listed
from .faults import Fault, found
from .image_check import ImageFacts, read_many
from .mask_data import (
    IGNORED_LABEL,
    LABEL_MODES,
    MaskFacts,
    MaskFolder,
    class_values,
    find_mask_folder,
    pair_files,
    read_mask,
    repeated_names,
)
from .split_report import Progress, Report, Sample, SplitReport, add_absent

_ADE_CLASSES = 150


def mask_faults(
    masks: Iterable[tuple[str, MaskFacts, ImageFacts]], allowed: Set[int], unlabelled: Set[int]
) -> list[Fault]:
    """Faults of masks, at most one of each kind.

    Args:
        masks: name, what is known of the mask, and of its image.
        allowed: values that they may hold.
        unlabelled: those of them that are no class.
    """
    places = defaultdict(list)
    for name, mask, image in masks:
        kind, detail = _fault_of(mask, image, allowed, unlabelled)
        if kind:
            places[kind].append(f"{name} ({detail})" if detail else name)
    return found(places)


def _fault_of(mask: MaskFacts, image: ImageFacts, allowed: Set[int], unlabelled: Set[int]) -> tuple[str, str]:
    """The kind and the details of what is wrong with a mask first of all; ("", "") if nothing is."""
    if mask.reason:
        return "broken mask", mask.reason
    if mask.lossy:
        return "lossy mask", ""
    if mask.mode not in LABEL_MODES:
        return "colour mask", f"mode {mask.mode}"
    if not image.reason and mask.size != (image.width, image.height):
        turned = ", as it lies in the file before its EXIF orientation turns it" if mask.size == image.stored else ""
        return "mask size", f"{_text(mask.size)}, its image {_text((image.width, image.height))}{turned}"
    beyond = sorted(mask.values - allowed)
    if beyond:
        return "label value", listed(beyond)
    return ("empty mask", "") if mask.values <= unlabelled else ("", "")


def check_mask_folder(root: Path, class_file: str | os.PathLike | None, decode: bool, progress: Progress) -> Report:
    """Read all of a folder of images and masks; arguments as of ``dataset_check.check_dataset``."""
    folder = find_mask_folder(root)
    named = class_values(folder, class_file)
    splits, read = [], []
    for name, (image_dir, mask_dir) in folder.splits.items():
        split, masks = _read_split(name, image_dir, mask_dir, decode, progress)
        splits.append(split)
        read.append(masks)
    if named:
        remark = f"{folder.convention}, as far as the list of classes does not name them"
    else:
        named = found_classes(folder, [facts for masks in read for _, facts, _ in masks])
        remark = f"no list of classes, so each value is one; {folder.convention}"
    unlabelled = {0, IGNORED_LABEL} - named.keys()
    allowed = named.keys() | unlabelled
    for split, masks in zip(splits, read, strict=True):
        split.faults += mask_faults(masks, allowed, unlabelled)
        split.histogram = Counter(
            label for _, facts, _ in masks for label, value in enumerate(named) if value in facts.values
        )
    splits[0].faults += class_faults(named)
    add_absent(splits)
    return Report("images and masks", list(named.values()), splits, remark)


def found_classes(folder: MaskFolder, masks: Iterable[MaskFacts]) -> dict[int, str]:
    """Each value that occurs as a class of its own, in the order of values; ADE20K's are known."""
    if folder.is_ade20k:
        return {value: f"value {value}" for value in range(1, _ADE_CLASSES + 1)}
    values = set().union(*(facts.values for facts in masks))
    return {value: f"value {value}" for value in sorted(values - {IGNORED_LABEL} - set(range(folder.first)))}


def class_faults(named: Mapping[int, str]) -> list[Fault]:
    """Faults of a list of classes."""
    lonely = list(named.values()) if len(named) == 1 else []
    return found({"class twice": repeated_names(named.values()), "one class": lonely})


def _read_split(
    name: str, image_dir: Path, mask_dir: Path, decode: bool, progress: Progress
) -> tuple[SplitReport, list[tuple[str, MaskFacts, ImageFacts]]]:
    split, pairs = SplitReport(name, "masks"), pair_files(image_dir, mask_dir)
    split.samples = [Sample(path, mask=pairs.masks.get(stem)) for stem, path in pairs.images.items()]
    split.faults += found(
        {
            "empty split": [] if pairs.images else [str(image_dir)],
            "duplicate name": pairs.twice,
            "missing mask": [path.name for stem, path in pairs.images.items() if stem not in pairs.masks],
            "stray mask": [path.name for stem, path in pairs.masks.items() if stem not in pairs.images],
        }
    )
    images = split.read_images(decode, progress)
    paired = [(sample.mask, images[sample.path]) for sample in split.samples if sample.mask]
    facts = read_many(read_mask, [mask for mask, _ in paired])
    return split, [(mask.name, fact, image) for (mask, image), fact in zip(paired, facts, strict=True)]


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
