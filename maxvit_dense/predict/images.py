"""Which images a source names, and their pixels."""

import glob
import os
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError, listed

_IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm")
_VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv")
_KINDS = "an image, a folder of them, a pattern such as 'photos/*.jpg', a list (.txt), a video or a webcam's number"


class Item(NamedTuple):
    """An image to look at: its path, and its name among all of them, which keeps subfolders."""

    name: str
    path: Path

    def read(self) -> np.ndarray:
        """Its pixels, see ``read_image``."""
        return read_image(self.path)


def is_stream(source: str) -> bool:
    """Whether a source is a video or a webcam's number."""
    return Path(source).suffix.lower() in _VIDEO_SUFFIXES or (source.isdecimal() and not Path(source).exists())


def find_images(source: str, leave_out: Iterable[Path] = ()) -> list[Item]:
    """The images of a source.

    Args:
        source: an image, a folder (with its subfolders), a glob pattern, or a .txt that lists paths, one a line, from
            its own folder.
        leave_out: folders that are none of ``source`` where they lie inside, such as that of earlier pictures.

    Raises:
        InputError: there is no such source, or no image in it.
    """
    path = Path(source)
    if source and path.is_dir():
        skipped = {folder for folder in map(_real, leave_out) if _real(path) in folder.parents}
        paths = [p for p in sorted(path.rglob("*")) if _is_image(p) and skipped.isdisjoint(_real(p).parents)]
        items = [Item(p.relative_to(path).as_posix(), p) for p in paths]
    elif path.is_file() and path.suffix.lower() == ".txt":
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
        except ValueError as error:
            raise InputError(f"List {path} is no text in UTF-8 ({error}). Give a path of an image a line.") from error
        items = _named([path.parent / line for line in lines if line])
    elif path.is_file():
        items = [Item(path.name, path)]
    else:
        items = _named([p for p in map(Path, sorted(glob.glob(source, recursive=True))) if _is_image(p)])
        if not items and not glob.has_magic(source):
            raise InputError(f"There is no {source}. Give {_KINDS}.")
    if not items:
        raise InputError(f"{source} names no image ({', '.join(_IMAGE_SUFFIXES)}). Give {_KINDS}.")
    return items


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve() fails at a link to itself


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in _IMAGE_SUFFIXES and not path.is_dir()  # a link to nowhere is one that cannot be read


def _named(paths: list[Path]) -> list[Item]:
    """Paths with names that tell them apart, what they do not share; each once."""
    if not paths:
        return []
    folder = os.path.commonpath([os.path.abspath(path.parent) for path in paths])
    named = {Path(os.path.relpath(os.path.abspath(path), folder)).as_posix(): path for path in paths}
    return [Item(name, path) for name, path in named.items()]


def read_image(path: str | Path) -> np.ndarray:
    """(H, W, 3) uint8 in the order R, G, B, turned as its EXIF says, 16 bits cut to 8: as training reads it.

    Raises:
        InputError: it cannot be read, or has more pixels than Pillow reads at once.
    """
    check_file(path)
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return to_rgb(image)
    except Image.DecompressionBombError as error:
        raise InputError(f"Image {path} is too large to be read whole ({error}). Give --tile 1024.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        raise InputError(f"Image {path} cannot be read ({error}).") from error


def check_file(path: str | Path) -> None:
    """Refuses what is not there, and what would be waited for without end."""
    if not os.path.exists(path):
        raise InputError(f"There is no image {path}.")
    if not os.path.isfile(path):
        raise InputError(f"{path} is not a file: a pipe, a device or a folder. Give an image.")


def check_array(image: Any, index: int) -> np.ndarray:
    """The image, or what is wrong with it.

    Raises:
        InputError: not (H, W, 3) uint8.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        given = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise InputError(f"Image {index} is {given}: give an RGB array (height, width, 3) of uint8.")
    if 0 in image.shape:
        raise InputError(f"Image {index} has no pixels: its shape is {list(image.shape)}.")
    return image


def to_rgb(image: Image.Image) -> np.ndarray:
    """8-bit RGB as OpenCV makes it, by which training reads: the high byte of 16 bits, no transparency."""
    if image.mode.startswith("I;16") or image.mode == "I":
        grey = (np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def check_targets(targets: Sequence[Path], sources: Iterable[Path]) -> None:
    """Refuse to write over what is read, by whatever name (links lead to the same file), and where no file can be.

    Raises:
        InputError: a target is a source or a folder, or lies in a file or where nothing can be written.
    """
    blocked = [path for path in targets if path.is_dir()]
    blocked += [p for p in {parent for path in targets for parent in path.parents} if p.exists() and not p.is_dir()]
    if blocked:
        raise InputError(f"{listed(blocked)} is there and in the way of what would be written. Give another place.")
    for folder in {next(p for p in (parent, *parent.parents) if p.exists()) for parent in {t.parent for t in targets}}:
        try:
            tempfile.TemporaryFile(dir=folder).close()
        except OSError as error:
            raise InputError(f"{folder} cannot be written ({error.strerror}). Give another place.") from error
    read = {(stat.st_dev, stat.st_ino) for stat in map(os.stat, filter(os.path.exists, sources))}
    over = [p for p in targets if p.exists() and (os.stat(p).st_dev, os.stat(p).st_ino) in read]
    if over:
        raise InputError(f"{listed(over)} would be overwritten, and is what is read. Give another folder.")
