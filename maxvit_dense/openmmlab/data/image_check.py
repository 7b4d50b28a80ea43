"""Reads image files the way training will, and says beforehand what would go wrong. Needs Pillow only.

Training reads images with OpenCV (``LoadImageFromFile``), in 8-bit colour. ``docs/own_data.md`` has the table of what
that does to each kind of image; tests hold it against OpenCV itself.
"""

import os
import stat
import struct
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from PIL import Image, UnidentifiedImageError

from .faults import LEAST_SIDE, MOST_PIXELS, MOST_SIDE, Fault, found

SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_NARROWEST = 1333 / 0.5  # the customary scale makes the short side of longer images round to no pixel at all
_WIDTH_TAG, _HEIGHT_TAG, _BITS_TAG, _ORIENTATION_TAG = 256, 257, 258, 274
_TURNED_BY = {"JPEG", "MPO", "PNG", "TIFF"}  # the formats whose EXIF orientation OpenCV follows
_END_MARKS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL = 12  # bytes: PNG's last chunk
_DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L")
_LARGE = 2**24  # pixels from which one image at a time is decoded
_THREADS = 8  # decoding leaves Python's lock, and on a network disk most of the time is waiting

_PART = 2000  # files a process reads
_DECODER = """
import os, sys, cv2
for line in sys.stdin.buffer.read().splitlines():
    os.write(2, b"\\0" + line + b"\\n")
    cv2.imread(os.fsdecode(line), cv2.IMREAD_REDUCED_COLOR_8)
"""

_large_ones = threading.Lock()

T, R = TypeVar("T"), TypeVar("R")


@dataclass(frozen=True)
class ImageFacts:
    """What is known of an image file.

    Attributes:
        width, height: pixels, as training reads it: after an EXIF rotation, if it follows it.
        stored: (width, height) as they lie in the file.
        kinds: what is remarkable about it, in the words of ``faults``.
        reason: why it cannot be read; empty if it can.
    """

    width: int = 0
    height: int = 0
    stored: tuple[int, int] = (0, 0)
    kinds: tuple[str, ...] = ()
    reason: str = ""


def read_facts(path: str | os.PathLike, decode: bool = True) -> ImageFacts:
    """Look at an image file; never raises for what is in it.

    Args:
        path: of the file.
        decode: read all pixels, which alone shows every broken file; else those of a file only that does not end
            as its format does, as a cut one would not.
    """
    try:
        with any_size(), open_file(path) as image:
            # Asked once and before the pixels: Pillow forgets a TIFF's tag afterwards, and turns it on reading.
            orientation = _exif(image).get(_ORIENTATION_TAG, 1)
            kinds = _kinds(image, orientation)
            facts = _facts(image, kinds, orientation)
            if (decode or not _ends(path, image.format)) and "image side" not in kinds:
                with one_large_at_a_time(image):
                    image.load()
            return facts
    except UnidentifiedImageError:
        return ImageFacts(kinds=("broken image",), reason="no image")
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        return ImageFacts(kinds=("broken image",), reason=str(error))


@contextmanager
def any_size() -> Iterator[None]:
    """Pillow reads images of any size: a large one is a finding, not an attack."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def open_file(path: str | os.PathLike) -> Image.Image:
    """Pillow's ``Image.open``, of files alone: it would wait for ever for somebody to write into a pipe."""
    refuse_no_file(path)
    return Image.open(path)


def refuse_no_file(path: str | os.PathLike) -> None:
    """
    Raises:
        OSError: something that is no file lies there, or nothing.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(f"{path} is not a file: a pipe, a device or a folder")


def complaints(paths: Iterable[str | os.PathLike]) -> dict[str, str]:
    """What OpenCV's decoder says of JPEG files whose pixels it makes up, as behind a damaged place, by path.

    It tells nobody but standard error, so that processes of their own read the files; Pillow keeps silent.
    """
    names = [name for name in map(str, paths) if name.lower().endswith((".jpg", ".jpeg")) and "\n" not in name]
    parts = [names[start : start + _PART] for start in range(0, len(names), _PART)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = "".join(pool.map(_decode, parts))
    pairs = (text.partition("\n")[::2] for text in said.split("\0")[1:])
    return {name: words.strip().splitlines()[0] for name, words in pairs if "JPEG data" in words}


def _decode(names: Sequence[str]) -> str:
    command = [sys.executable, "-c", _DECODER]  # at an eighth of the size, for which all data are read
    done = subprocess.run(command, input="\n".join(names).encode(errors="surrogateescape"), stderr=subprocess.PIPE)
    return done.stderr.decode(errors="surrogateescape")


@contextmanager
def one_large_at_a_time(image: Image.Image) -> Iterator[None]:
    """Threads that decode large images wait for each other, or each would take half a gigabyte."""
    with _large_ones if image.width * image.height > _LARGE else nullcontext():
        yield


def _exif(image: Image.Image) -> Image.Exif:
    """Without decoding pixels, as ``PngImageFile.getexif`` does to come to what may lie behind them."""
    if image.format == "PNG" and "exif" not in image.info:
        late = _late_exif(image.filename)
        if late:
            image.info["exif"] = late
        return Image.Image.getexif(image)
    return image.getexif()


def _late_exif(path: str) -> bytes:
    with open(path, "rb") as stream:
        stream.seek(8)  # the signature
        while len(head := stream.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            if kind == b"eXIf":
                return b"Exif\0\0" + stream.read(length)
            stream.seek(length + 4, os.SEEK_CUR)  # with the chunk's checksum
    return b""


def read_many(
    read: Callable[[T], R], items: Sequence[T], progress: Callable[[int, int], None] = lambda done, total: None
) -> list[R]:
    """Apply ``read``, of files, to each item, several at a time; ``progress`` is told how many of how many are done."""
    results = []
    with any_size(), ThreadPoolExecutor(_THREADS) as pool:  # once for all threads, which would undo it in no order
        for result in pool.map(read, items):
            results.append(result)
            progress(len(results), len(items))
    return results


def read_images(
    images: Mapping[str | os.PathLike, tuple[int, int] | None],
    decode: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[dict[str | os.PathLike, ImageFacts], list[Fault]]:
    """Facts of many image files by path, and their faults, at most one of each kind.

    Args:
        images: (width, height) that the annotations give, or None, by path.
        decode, progress: as of ``read_facts`` and ``read_many``.
    """
    facts = dict(zip(images, read_many(partial(read_facts, decode=decode), list(images), progress), strict=True))
    places, sizes = defaultdict(list), []
    for path, fact in facts.items():
        name = os.path.basename(path)
        detail = f" ({fact.reason})" if fact.reason else ""
        for kind in fact.kinds:
            places[kind].append(name + (f" ({fact.width}x{fact.height})" if kind == "image side" else detail))
        if images[path] and (words := other_size(images[path], fact)):
            sizes.append(f"{name} ({words})")
    return facts, found({**places, "image size": sizes})


def other_size(annotated: tuple[int, int], facts: ImageFacts) -> str:
    """In words, that an image is read in another size than the (width, height) annotated; empty if it is not."""
    if facts.reason or annotated == (facts.width, facts.height):
        return ""
    upright = "rotated image" in facts.kinds and annotated == facts.stored
    turned = ", upright by its EXIF orientation" if upright else ""
    return f"annotated {annotated[0]}x{annotated[1]}, read {facts.width}x{facts.height}{turned}"


def _ends(path: str | os.PathLike, kind: str) -> bool:
    """Whether a file ends with its format's last mark; True of formats without one."""
    mark = _END_MARKS.get(kind, b"")
    with open(path, "rb") as stream:
        stream.seek(-min(_TAIL, os.path.getsize(path)), os.SEEK_END)
        return mark in stream.read()


def _facts(image: Image.Image, kinds: list[str], orientation: int) -> ImageFacts:
    stored = _stored_size(image)
    width, height = stored
    if "rotated image" in kinds and orientation >= 5:
        width, height = height, width
    return ImageFacts(width, height, stored, tuple(kinds))


def _stored_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) in the file: newer releases of Pillow give a TIFF's as it will be turned."""
    if image.format == "TIFF":
        return image.tag_v2[_WIDTH_TAG], image.tag_v2[_HEIGHT_TAG]
    return image.size


def _kinds(image: Image.Image, orientation: int) -> list[str]:
    short, long = sorted(image.size)
    kinds = []
    if short < LEAST_SIDE or long > MOST_SIDE or long / short > _NARROWEST or short * long > MOST_PIXELS:
        kinds.append("image side")
    if image.mode in _DEEP_MODES or _bits(image) > 8:
        kinds.append("16-bit image")
    elif image.mode in ("1", "L"):
        kinds.append("grey image")
    if image.mode == "CMYK":
        kinds.append("CMYK image")
    if image.mode == "P":
        kinds.append("palette image")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        kinds.append("transparent image")
    if orientation in range(2, 9):
        if image.format in _TURNED_BY:
            kinds.append("rotated image")
        elif image.format == "WEBP":
            kinds.append("rotated WebP")
    return kinds


def _bits(image: Image.Image) -> int:
    """Bits a channel in the file: Pillow shows 16-bit colour as if it had 8."""
    if image.format == "PNG":
        with open(image.filename, "rb") as stream:
            return stream.read(25)[24]  # the bit depth of the header, the first chunk of every PNG
    if image.format == "TIFF":
        return max(image.tag_v2.get(_BITS_TAG, (8,)))
    return 8
