"""Reads the masks of a data set before anyone trains on it. Needs Pillow and numpy only."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from functools import partial
from pathlib import Path

from ...errors import InputError, listed
from .choice import Choice
from .faults import Fault, found
from .image_check import ImageFacts, read_many
from .mask_data import LABEL_MODES, Labels, MaskFacts, pair_files, read_labels, read_mask
from .mask_layouts import IGNORED_LABEL, MaskFolder, SplitFiles, find_mask_folder
from .split_report import Progress, Sample, SplitReport

_ADE_CLASSES = 150


def mask_faults(masks: Iterable[tuple[str, MaskFacts, ImageFacts]], labels: Labels, first: int) -> list[Fault]:
    """Faults of masks, at most one of each kind.

    Args:
        masks: name, what is known of the mask, and of its image.
        labels: what values mean.
        first: the value that classes count from where no list says it.
    """
    places, seen = defaultdict(list), set()
    for name, mask, image in masks:
        kind, detail = _fault_of(mask, image, labels.named.keys() | labels.unlabelled, labels.unlabelled)
        seen |= mask.values
        if kind:
            places[kind].append(f"{name} ({detail})" if detail else name)
    beyond = sorted(seen - labels.named.keys() - labels.unlabelled)
    return [*found(places, void=",".join(map(str, beyond))), *_misread(seen, labels, first)]


def _misread(seen: Set[int], labels: Labels, first: int) -> list[Fault]:
    """The fault of values that seem to mean something else than what they are taken for."""
    named, absent = list(labels.named.items()), labels.named.keys() - seen
    if len(named) == 2 and seen == {0, IGNORED_LABEL} and IGNORED_LABEL in absent | labels.unlabelled:
        meant = {0: named[0][1], IGNORED_LABEL: named[1][1]}
    elif first == 1 and [value for value, _ in named] == list(range(1, len(named) + 1)) and absent:
        if seen - {IGNORED_LABEL} != set(range(len(named))):
            return []
        meant = {value - 1: name for value, name in named}
    else:
        return []
    absent_names = listed(name for value, name in named if value in absent)
    meaning = json.dumps({str(value): name for value, name in meant.items()}, ensure_ascii=False)
    return found({"misread value": [f"{absent_names}, of the values {listed(sorted(seen), 10)}"]}, meant=meaning)


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


def found_labels(folder: MaskFolder, masks: Iterable[MaskFacts], void: Set[int] = frozenset()) -> Labels:
    """Each value that occurs as a class of its own, in the order of values; ADE20K's are known."""
    if folder.is_ade20k:
        return Labels({value: f"value {value}" for value in range(1, _ADE_CLASSES + 1)}, frozenset(void))
    values = set().union(*(facts.values for facts in masks))
    classes = sorted(values - {IGNORED_LABEL} - set(range(folder.first)) - void)
    return Labels({value: f"value {value}" for value in classes}, frozenset(void))


def class_faults(labels: Labels) -> list[Fault]:
    """Faults of a list of classes."""
    return found({"class twice": labels.twice, "one class": labels.classes if len(labels.classes) == 1 else ()})


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


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
