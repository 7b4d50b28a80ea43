"""Images and masks: which files belong together, which classes the values in the masks stand for, what is wrong.

Needs Pillow and numpy only. One byte of a mask is one pixel's value: a grey level, or the index of a palette's colour.
Classes count from ``MaskFolder.first`` and 255 is ignored. A list that gives each value its name (``classes.json`` with
an object) stands above that; 0 and 255 are then ignored unless it names them.
"""

import json
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ....errors import InputError, listed
from ..choice import Choice, read_class_file, read_json
from ..faults import MOST_PIXELS, Fault, found
from ..image_check import SUFFIXES, ImageFacts, any_size, one_large_at_a_time, open_file
from .mask_folders import IGNORED_LABEL, MaskFolder, names_in

MOST_CLASSES = 254  # one value is ignored, one marks what is no class at all
LABEL_MODES = ("L", "P", "1")  # one byte a pixel, or less
_BYTE = range(256)
_ADE_CLASSES = 150


@dataclass(frozen=True)
class Labels:
    """What values in masks mean.

    Attributes:
        named: class name by value, in the order of labels; values of one name are one class.
        void: other values that are ignored, beside 0 and 255 where they are no classes.
        twice: names that a list of names has more than once.
    """

    named: Mapping[int, str]
    void: frozenset[int] = frozenset()
    twice: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self.named.values()))

    @property
    def unlabelled(self) -> frozenset[int]:
        """All values that are no class and may occur."""
        return (frozenset({0, IGNORED_LABEL}) | self.void) - self.named.keys()

    def chosen(self, choice: Choice) -> "Labels":
        """As a choice of classes has them; values of those that are left out are ignored.

        Raises:
            InputError: as ``Choice.pairs``.
        """
        if not choice.selects:
            return self
        pairs = choice.pairs(self.classes)
        named = {value: name for old, name in pairs for value, own in self.named.items() if own == old}
        return Labels(named, self.void | (self.named.keys() - named.keys()), self.twice)


@dataclass
class Pairs:
    """Images and masks of a split by the name that they share, and names that occur twice."""

    images: dict[str, Path]
    masks: dict[str, Path]
    twice: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class MaskFacts:
    """What is known of a mask.

    Attributes:
        size: (width, height) in pixels.
        values: that occur in it.
        mode: Pillow's word for what a pixel holds; values are read of ``LABEL_MODES`` alone.
        lossy: its format changes values.
        reason: why it cannot be read; empty if it can.
    """

    size: tuple[int, int] = (0, 0)
    values: frozenset[int] = frozenset()
    mode: str = "L"
    lossy: bool = False
    reason: str = ""


def pair_files(
    image_dir: str | os.PathLike,
    mask_dir: str | os.PathLike,
    endings: tuple[str, str] = ("", ""),
    listed: str | os.PathLike | None = None,
) -> Pairs:
    """Find the images of a folder and those below it, and their masks: ``a.jpg``, ``a.png``, or ``a_mask.png``.

    Args:
        image_dir, mask_dir: the folders.
        endings: what names of images and masks have more than the one they share; files without it are passed over.
        listed: file with the names to take, one a line; by default all.
    """
    images, twice = _by_stem(Path(image_dir), endings[0])
    masks, twice_masked = _by_stem(Path(mask_dir), endings[1])
    if not images.keys() & masks.keys():
        masks = _without_ending(masks, images)
    if listed:
        names = names_in(listed, folders=True)
        # A listed name without its image stays, so that it is missed.
        images = {name: images.get(name, Path(image_dir) / f"{name}.jpg") for name in names}
        masks = {name: masks[name] for name in names if name in masks}
    return Pairs(images, masks, twice + twice_masked)


def read_labels(folder: MaskFolder, class_file: str | os.PathLike | None = None, void: Iterable[int] = ()) -> Labels:
    """What the values in the masks mean; without any class if no list says it.

    Args:
        folder: whose ``classes.json`` or ``classes.txt`` is read.
        class_file: read instead. Lists are one name a line, or JSON: a list of names, which count from
            ``folder.first``, or an object of value and name, or null for a value that is ignored; values of one name
            are one class.
        void: values that are ignored too.

    Raises:
        InputError: the list cannot be read; a value is none of a byte; more than ``MOST_CLASSES`` names; a void value
            has a name.
    """
    path, void = Path(class_file) if class_file else folder.class_file, frozenset(void)
    if path is None:
        return Labels({value: name for value, name in folder.known.items() if value not in void}, folder.void | void)
    content = read_json(path, "Class file") if path.suffix == ".json" else None
    twice = ()
    if not isinstance(content, dict):
        named = dict(enumerate(read_class_file(path), folder.first))
        twice = tuple(sorted(name for name, count in Counter(named.values()).items() if count > 1))
    else:
        read = {_byte(value, path): name for value, name in content.items()}
        void |= {value for value, name in read.items() if name is None}
        named = {value: str(name).strip() for value, name in sorted(read.items()) if name is not None}
    if not all(named.values()) or not 0 < len(named) <= MOST_CLASSES:
        raise InputError(f"Class file {path} has {len(named)} names; give 1 to {MOST_CLASSES}, none of them empty.")
    both = sorted(void & named.keys())
    if both:
        raise InputError(
            f"The void value {both[0]} is class {named[both[0]]!r} by {path}. Leave it out of one of them: in JSON, "
            f'{{"{both[0]}": null}} says that it is void.'
        )
    return Labels(named, void | (folder.void - named.keys()), twice)


def read_mask(path: str | os.PathLike, colours: Mapping[tuple[int, int, int], int] | None = None) -> MaskFacts:
    """Look at all pixels of a mask, as training's loader reads them; never raises for what is in it.

    Args:
        path: of the file.
        colours: value by colour, of a mask that will be converted by ``labels_of_colours``.
    """
    try:
        with any_size(), open_file(path) as mask:
            if mask.width * mask.height > MOST_PIXELS:
                return MaskFacts(reason=f"{mask.width}x{mask.height} pixels, over {MOST_PIXELS // 10**6} million")
            lossy = mask.format in ("JPEG", "MPO")
            if colours and not lossy:
                return MaskFacts(mask.size, frozenset(np.unique(labels_of_colours(mask, colours)).tolist()))
            if mask.mode not in LABEL_MODES or lossy:
                return MaskFacts(mask.size, mode=mask.mode, lossy=lossy)
            with one_large_at_a_time(mask):
                counts = np.bincount(np.asarray(mask, np.uint8).ravel(), minlength=len(_BYTE))
            return MaskFacts(mask.size, frozenset(np.flatnonzero(counts).tolist()), mask.mode)
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        return MaskFacts(reason=str(error))


def labels_of_colours(mask: Image.Image, colours: Mapping[tuple[int, int, int], int]) -> np.ndarray:
    """The value (H, W), uint8, of each pixel's colour.

    Raises:
        ValueError: a colour without a value.
    """
    pixels = np.asarray(mask.convert("RGB")).astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    found, places = np.unique(pixels, return_inverse=True)
    values = [colours.get((code >> 16, code >> 8 & 255, code & 255)) for code in found.tolist()]
    if None in values:
        code = int(found[values.index(None)])
        raise ValueError(f"colour {code >> 16},{code >> 8 & 255},{code & 255} is not in labelmap.txt")
    return np.array(values, np.uint8)[places].reshape(pixels.shape)


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


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"


def _by_stem(folder: Path, ending: str) -> tuple[dict[str, Path], list[str]]:
    """Images of a folder by their names, of those with ``ending``, which is taken off."""
    found, twice = {}, []
    for path in sorted(folder.rglob("*")):
        stem = str(path.relative_to(folder).with_suffix(""))
        if not stem.endswith(ending):
            continue
        stem = stem.removesuffix(ending)
        hidden = path.name.startswith(".")  # what macOS leaves beside each file; mmseg passes them over too
        if path.suffix.lower() in SUFFIXES and not hidden and path.is_file():
            if stem in found:
                twice.append(f"{found[stem].name} and {path.name}")
            found[stem] = path
    return found, twice


def _without_ending(masks: dict[str, Path], images: dict[str, Path]) -> dict[str, Path]:
    """Masks by the names of their images, where all have the same ending more."""
    some = next(iter(masks), "")
    for ending in (some[len(stem) :] for stem in images if some.startswith(stem)):
        if all(stem.endswith(ending) for stem in masks):
            return {stem.removesuffix(ending): path for stem, path in masks.items()}
    return masks


def _byte(value: str, path: Path) -> int:
    if not value.strip().isdecimal() or int(value) not in _BYTE:
        raise InputError(
            f"Class file {path} names the mask value {value!r}; values are whole numbers from 0 to {_BYTE[-1]}, "
            'for example {"0": "background", "1": "road"}.'
        )
    return int(value)
