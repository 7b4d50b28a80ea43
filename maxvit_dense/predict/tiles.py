"""Images too large for a network, or for the memory: predicted tile by tile, put together at the seams.

sahi does the like (0.12 was read): it takes the image whole, unites masks as polygons of the whole image, and joins
boxes by how much of the smaller one they share, which leaves the halves of an object apart that is larger than the
overlap. Here two guesses are one object if they agree *where both tiles can see*, whatever lies beyond.
"""

import math
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError
from .images import check_file, to_rgb
from .results import Piece, Result, cut, overlaps, pieces, select

try:
    import rasterio
    import rasterio.windows
except ImportError:
    rasterio = None

OVERVIEW = 4096  # pixels of the long side of pictures
_AGREE = 0.5  # of the union, where both tiles can see
_MOST_PIXELS = 2**28  # that are read whole, 800 MB
_CACHE = 128 * 2**20  # bytes of decoded blocks; GDAL would take a twentieth of the machine
_ORIENTATION = 274  # of EXIF


class Region(NamedTuple):
    """Pixels of an image, from (left, top) to before (right, bottom)."""

    left: int
    top: int
    right: int
    bottom: int


class LargeImage:
    """An image of which parts are read: by rasterio (GDAL) where that is installed, else by Pillow, whole.

    Attributes:
        size: (height, width) in pixels.

    Raises:
        InputError: it cannot be read; it is too large for Pillow and rasterio is not installed.
    """

    def __init__(self, path: Path):
        check_file(path)
        check_file(path)
        self.path, self._file, self._whole = path, None, None
        with _reading(path):
            if rasterio:
                with rasterio.open(path) as file:
                    self.size = file.height, file.width
                return
            with Image.open(path) as image:
                turned = image.getexif().get(_ORIENTATION, 1) >= 5
                self.size = image.size if turned else image.size[::-1]
        if math.prod(self.size) > _MOST_PIXELS:
            size = "x".join(map(str, self.size[::-1]))
            raise InputError(f"{path}, {size} pixels, is too large to be read whole: pip install rasterio.")

    def read(self, region: Region) -> np.ndarray:
        """(h, w, 3) uint8 in the order R, G, B."""
        if not rasterio:
            return self._pixels()[region.top : region.bottom, region.left : region.right]
        window = rasterio.windows.Window(
            region.left, region.top, region.right - region.left, region.bottom - region.top
        )
        return self._bands(window=window)

    def overview(self, factor: int) -> np.ndarray:
        """Every ``factor``-th pixel."""
        if not rasterio:
            return self._pixels()[::factor, ::factor]
        return self._bands(out_shape=tuple(math.ceil(side / factor) for side in self.size))

    def close(self) -> None:
        """Let go of the file, or of its pixels."""
        if self._file:
            self._file.close()
        self._file = self._whole = None

    def _pixels(self) -> np.ndarray:
        if self._whole is None:
            with _reading(self.path), Image.open(self.path) as image:
                self._whole = to_rgb(ImageOps.exif_transpose(image))
        return self._whole

    def _bands(self, **part) -> np.ndarray:
        """The first three bands, or the first as grey; the high byte of 16 bits."""
        with _reading(self.path), rasterio.Env(GDAL_CACHEMAX=_CACHE):
            self._file = self._file or rasterio.open(self.path)
            numbers = [1, 2, 3] if self._file.count > 2 else [1]
            shape = dict(out_shape=(len(numbers), *part.pop("out_shape"))) if "out_shape" in part else {}
            bands = self._file.read(numbers, **shape, **part)
        bands = np.repeat(bands, 3 // len(numbers), axis=0)
        return np.ascontiguousarray((bands >> 8 if bands.dtype == np.uint16 else bands).transpose(1, 2, 0), np.uint8)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Any number of pixels, no word on what no map needs, one kind of error."""
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of rasterio: no place on the globe
            yield
    except Exception as error:  # GDAL's and Pillow's decoders have no common class
        raise InputError(f"Image {path} cannot be read ({error}).") from error
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def cut_tiles(size: tuple[int, int], tile: int, overlap: int) -> list[Region]:
    """Tiles of at most ``tile`` pixels a side that cover (height, width), each sharing ``overlap`` with the next."""

    def starts(length: int) -> list[int]:
        return [*range(0, max(length - tile, 0), tile - overlap), max(length - tile, 0)]

    height, width = size
    return [Region(x, y, min(x + tile, width), min(y + tile, height)) for y in starts(height) for x in starts(width)]


def predict_tiles(
    predictor: Callable[[list], list[Result]],
    image: LargeImage,
    tile: int,
    overlap: int,
    batch: int = 1,
    score: float = 0.0,
    done: Callable[[int], None] = lambda tiles: None,
) -> Result:
    """The result of a whole image; its masks are ``pieces``, its label map lies in a file that is gone afterwards.

    Args:
        predictor: of a detector or a segmentor.
        image: to be predicted.
        tile: pixels of a side.
        overlap: pixels that neighbours share.
        batch: tiles at once.
        score: least score of a tile's objects.
        done: is told how many tiles were predicted.
    """
    regions = cut_tiles(image.size, tile, overlap)
    whole = _Objects() if predictor.task == "detection" else _Labels(image.size, regions)
    for begin in range(0, len(regions), batch):
        group = regions[begin : begin + batch]
        for region, result in zip(group, predictor([image.read(region) for region in group]), strict=True):
            whole.add(region, select(result, score))
        done(len(group))
    return whole.result()


class _Labels:
    """A label map in which each pixel is of the tile that has it deepest inside: a seam is the overlap's middle."""

    def __init__(self, size: tuple[int, int], regions: list[Region]):
        self.size, self.labels = size, None
        self.columns = _middles(sorted({(r.left, r.right) for r in regions}))
        self.rows = _middles(sorted({(r.top, r.bottom) for r in regions}))

    def add(self, region: Region, result: Result) -> None:
        if self.labels is None:  # the system writes it out where memory is short
            self.labels = np.memmap(tempfile.TemporaryFile(), result["labels"].dtype, "w+", shape=self.size)
        (left, right), (top, bottom) = self.columns[region.left], self.rows[region.top]
        inside = slice(top - region.top, bottom - region.top), slice(left - region.left, right - region.left)
        self.labels[top:bottom, left:right] = result["labels"][inside]

    def result(self) -> Result:
        return dict(labels=self.labels)


def _middles(spans: list[tuple[int, int]]) -> dict[int, tuple[int, int]]:
    """By the start of each span: the part of it that is nearer to its middle than to its neighbours'."""
    edges = [spans[0][0]] + [(a[1] + b[0]) // 2 for a, b in zip(spans, spans[1:], strict=False)] + [spans[-1][1]]
    return {span[0]: (edges[i], edges[i + 1]) for i, span in enumerate(spans)}


class _Objects:
    """Objects of all tiles; those of two tiles that agree where both see are one."""

    def __init__(self):
        self.tiles: list[tuple[Region, Result, int]] = []
        self.group: list[int] = []  # of each object, the number of another or its own

    def add(self, region: Region, result: Result) -> None:
        first = len(self.group)
        self.group += range(first, first + len(result["scores"]))
        corner = [region.left, region.top]
        moved = dict(result, boxes=result["boxes"] + np.array(corner * 2, np.float32))
        if "masks" in result:
            moved["pieces"] = [Piece(p.left + corner[0], p.top + corner[1], p.mask) for p in pieces(result)]
            del moved["masks"]
        for other, theirs, start in self.tiles:
            for i, j in _agreeing(moved, theirs, _shared(region, other)):
                a, b = self._root(first + i), self._root(start + j)
                self.group[max(a, b)] = min(a, b)
        self.tiles.append((region, moved, first))

    def _root(self, number: int) -> int:
        while self.group[number] != number:
            number = self.group[number]
        return number

    def result(self) -> Result:
        members: dict[int, list[tuple[Region, Result, int]]] = {}
        for region, result, first in self.tiles:
            for i in range(len(result["scores"])):
                members.setdefault(self._root(first + i), []).append((region, result, i))
        parts = [_united(group) for group in members.values()]
        boxes = np.array([part[0] for part in parts], np.float32).reshape(-1, 4)
        scores, labels = (np.array([part[k] for part in parts], kind) for k, kind in ((1, np.float32), (2, np.int64)))
        whole = dict(boxes=boxes, scores=scores, labels=labels)
        if any("pieces" in result for _, result, _ in self.tiles):
            whole["pieces"] = [part[3] for part in parts]
        return whole


def _shared(a: Region, b: Region) -> Region:
    return Region(max(a.left, b.left), max(a.top, b.top), min(a.right, b.right), min(a.bottom, b.bottom))


def _agreeing(mine: Result, theirs: Result, seen: Region) -> Iterator[tuple[int, int]]:
    """Pairs of objects of one class whose boxes are alike inside ``seen``."""
    if seen.left >= seen.right or seen.top >= seen.bottom:
        return
    low, high = np.array([seen.left, seen.top] * 2), np.array([seen.right, seen.bottom] * 2)
    boxes, others = mine["boxes"].clip(low, high), theirs["boxes"].clip(low, high)
    for i, box in enumerate(boxes):
        union, _ = overlaps(others, box)
        yield from ((i, int(j)) for j in np.flatnonzero((union > _AGREE) & (theirs["labels"] == mine["labels"][i])))


def _united(group: list[tuple[Region, Result, int]]) -> tuple[np.ndarray, float, int, Piece | None]:
    """Box, score, label and mask of one object from what tiles saw of it: the surest, or all where that was cut."""
    region, result, i = max(group, key=lambda part: part[1]["scores"][part[2]])
    box, score, label = result["boxes"][i], result["scores"][i], result["labels"][i]
    low, high = np.array(region[:2]) + 1, np.array(region[2:]) - 1
    whole = np.all(box[:2] > low) and np.all(box[2:] < high)
    seen = [(region, result, i)] if whole else group
    boxes = np.array([r["boxes"][j] for _, r, j in seen])
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    return box, score, label, _joined([r["pieces"][j] for _, r, j in seen]) if "pieces" in result else None


def _joined(parts: list[Piece]) -> Piece:
    """One mask of several."""
    left, top = min(p.left for p in parts), min(p.top for p in parts)
    right, bottom = max(p.left + p.mask.shape[1] for p in parts), max(p.top + p.mask.shape[0] for p in parts)
    mask = np.zeros((bottom - top, right - left), bool)
    for part in parts:
        height, width = part.mask.shape
        mask[part.top - top : part.top - top + height, part.left - left : part.left - left + width] |= part.mask
    return cut(mask, left, top)


def shrink(result: Result, factor: int) -> Result:
    """A result on every ``factor``-th pixel of its image, for pictures."""
    small = dict(result)
    if "boxes" in result:
        small["boxes"] = result["boxes"] / factor
    else:
        small["labels"] = np.ascontiguousarray(result["labels"][::factor, ::factor])
    if "pieces" in result:
        small["pieces"] = [_thinned(piece, factor) for piece in result["pieces"]]
    return small


def _thinned(piece: Piece, factor: int) -> Piece:
    """The mask at the pixels that an overview keeps."""
    left, top = math.ceil(piece.left / factor), math.ceil(piece.top / factor)
    return Piece(left, top, piece.mask[top * factor - piece.top :: factor, left * factor - piece.left :: factor])
