"""A folder of images and masks: which files belong together, and which classes the values in the masks stand for.

Needs Pillow and numpy only. One byte of a mask is one pixel's value: a grey level, or the index of a palette's colour.

- ``masks/``: classes count from 0, so 0 is one of them, most often the background.
- ``annotations/``, ADE20K's layout: classes count from 1, and 0 is unlabelled.
- 255 is ignored in both.

A list that gives each value its name (``classes.json`` with an object) stands above that; 0 and 255 are then ignored
unless it names them.
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ...errors import InputError
from .image_check import SUFFIXES
from .voc_yolo import read_class_file

IGNORED_LABEL = 255  # of masks: no class, no loss
MOST_CLASSES = 254  # one value is ignored, one marks what is no class at all
LABEL_MODES = ("L", "P", "1")  # one byte a pixel, or less
_BYTE = range(256)
_SPLITS = {"train": ("training", "train"), "val": ("validation", "val", "valid")}
_LISTS = ("classes.json", "classes.txt")
_ADE_FOLDER, _ADE_LIST = "ADEChallengeData2016", "objectInfo150.txt"


@dataclass(frozen=True)
class MaskFolder:
    """Where the parts of a data set lie.

    Attributes:
        root: the folder that holds ``images/``.
        masks: name of the folder beside it.
        first: the value that classes count from.
    """

    root: Path
    masks: str
    first: int

    def split(self, name: str) -> tuple[Path, Path]:
        """Image and mask folder of "train" or "val": those that exist, or should."""
        for alias in _SPLITS[name]:
            if (self.root / "images" / alias).is_dir():
                break
        else:
            alias = name
        return self.root / "images" / alias, self.root / self.masks / alias

    @property
    def splits(self) -> dict[str, tuple[Path, Path]]:
        """Image and mask folder of each split that has images.

        Raises:
            InputError: there is none.
        """
        found = {name: self.split(name) for name in _SPLITS if self.split(name)[0].is_dir()}
        if not found:
            raise InputError(
                f"{self.root}/images has no folder train/ or val/ (training/, validation/). Divide the images and "
                f"{self.masks}/ likewise."
            )
        return found

    @property
    def is_ade20k(self) -> bool:
        """ADE20K itself, which comes without a list of classes that one could read."""
        official = self.root.name == _ADE_FOLDER or (self.root / _ADE_LIST).is_file()
        return official and self.masks == "annotations" and self.class_file is None

    @property
    def class_file(self) -> Path | None:
        """The list of classes beside the images."""
        return next((path for name in _LISTS if (path := self.root / name).is_file()), None)

    @property
    def convention(self) -> str:
        """What values mean where no list says more, in words."""
        zero = "0 is a class" if self.first == 0 else "0 is unlabelled"
        return f"in {self.masks}/ {zero} and {IGNORED_LABEL} is ignored"


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


def find_mask_folder(root: str | os.PathLike) -> MaskFolder | None:
    """The images and masks in ``root``, if that is what lies there."""
    root = Path(root)
    for folder in (root, root / _ADE_FOLDER):  # ADE20K's archive has one folder more around it
        for masks, first in (("masks", 0), ("annotations", 1)):
            if (folder / "images").is_dir() and (folder / masks).is_dir() and not (folder / "labels").is_dir():
                return MaskFolder(folder, masks, first)
    return None


def pair_files(image_dir: str | os.PathLike, mask_dir: str | os.PathLike) -> Pairs:
    """Find the images of a folder and those below it, and their masks: ``a.jpg``, ``a.png``, or ``a_mask.png``."""
    images, twice = _by_stem(Path(image_dir))
    masks, twice_masked = _by_stem(Path(mask_dir))
    if not images.keys() & masks.keys():
        masks = _without_ending(masks, images)
    return Pairs(images, masks, twice + twice_masked)


def class_values(folder: MaskFolder, class_file: str | os.PathLike | None = None) -> dict[int, str]:
    """Class name by value in the masks, in the order of labels; empty if no list gives them.

    Args:
        folder: whose ``classes.json`` or ``classes.txt`` is read.
        class_file: read instead. Lists are one name a line, or JSON: a list of names, which count from
            ``folder.first``, or an object of value and name.

    Raises:
        InputError: the list cannot be read; a value is none of a byte; more than ``MOST_CLASSES`` names.
    """
    path = Path(class_file) if class_file else folder.class_file
    if path is None:
        return {}
    content = _json_object(path) if path.suffix == ".json" else None
    if content is None:
        named = dict(enumerate(read_class_file(path), folder.first))
    else:
        named = {_byte(value, path): str(name).strip() for value, name in content.items()}
        named = dict(sorted(named.items()))
    if not all(named.values()) or not 0 < len(named) <= MOST_CLASSES:
        raise InputError(f"Class file {path} has {len(named)} names; give 1 to {MOST_CLASSES}, none of them empty.")
    return named


def repeated_names(names: Iterable[str]) -> list[str]:
    names = list(names)
    return sorted({name for name in names if names.count(name) > 1})


def read_mask(path: str | os.PathLike) -> MaskFacts:
    """Look at all pixels of a mask, as training's loader reads them; never raises for what is in it."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # a large mask is a finding, not an attack
    try:
        with Image.open(path) as mask:
            lossy = mask.format in ("JPEG", "MPO")
            if mask.mode not in LABEL_MODES or lossy:
                return MaskFacts(mask.size, mode=mask.mode, lossy=lossy)
            counts = np.bincount(np.asarray(mask, np.uint8).ravel(), minlength=len(_BYTE))
            return MaskFacts(mask.size, frozenset(np.flatnonzero(counts).tolist()), mask.mode)
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        return MaskFacts(reason=str(error))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _by_stem(folder: Path) -> tuple[dict[str, Path], list[str]]:
    found, twice = {}, []
    for path in sorted(folder.rglob("*")):
        stem = str(path.relative_to(folder).with_suffix(""))
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


def _json_object(path: Path) -> dict | None:
    """The object in a JSON file; None if it holds something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"Class file {path} cannot be read ({error}). Correct it.") from error
    return content if isinstance(content, dict) else None


def _byte(value: str, path: Path) -> int:
    if not value.strip().isdecimal() or int(value) not in _BYTE:
        raise InputError(
            f"Class file {path} names the mask value {value!r}; values are whole numbers from 0 to {_BYTE[-1]}, "
            'for example {"0": "background", "1": "road"}.'
        )
    return int(value)
