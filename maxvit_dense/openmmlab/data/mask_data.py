"""Images and masks: which files belong together, and which classes the values in the masks stand for.

Needs Pillow and numpy only. One byte of a mask is one pixel's value: a grey level, or the index of a palette's colour.
Classes count from ``MaskFolder.first`` and 255 is ignored. A list that gives each value its name (``classes.json`` with
an object) stands above that; 0 and 255 are then ignored unless it names them.
"""

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError
from .choice import Choice, read_class_file, read_json
from .faults import MOST_PIXELS
from .image_check import SUFFIXES, any_size, one_large_at_a_time, open_file
from .mask_layouts import IGNORED_LABEL, MaskFolder, names_in

MOST_CLASSES = 254  # one value is ignored, one marks what is no class at all
LABEL_MODES = ("L", "P", "1")  # one byte a pixel, or less
_BYTE = range(256)


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
