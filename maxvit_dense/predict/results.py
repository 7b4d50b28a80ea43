"""Results of a predictor: which of them count, and masks as pieces of an image."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

Result = dict[str, np.ndarray]
TOP = 5  # classes that are shown and written of a classifier's
_ROWS = 64
_PER_OBJECT = ("boxes", "scores", "labels", "masks", "pieces")


class Piece(NamedTuple):
    """A mask (h, w) bool whose first pixel is the image's (top, left); outside it there is nothing of the object."""

    left: int
    top: int
    mask: np.ndarray


def kind(result: Mapping) -> str:
    """ "detection", "segmentation" or "classification"."""
    if "boxes" in result:
        return "detection"
    return "segmentation" if "labels" in result else "classification"


def count(result: Mapping) -> int:
    return len(result["scores"])


def pick(result: Mapping, places: np.ndarray) -> Result:
    """The objects at these places, in this order."""
    picked = dict(result)
    for key in _PER_OBJECT:
        if key in result:
            value = result[key]
            picked[key] = [value[i] for i in places] if isinstance(value, list) else value[places]
    return picked


def select(result: Mapping, score: float, labels: Collection[int] | None = None) -> Result:
    """A detector's objects of at least a score and of some classes (None: all), surest first; others' as they are."""
    if kind(result) != "detection":
        return dict(result)
    kept = result["scores"] >= score
    if labels is not None:
        kept &= np.isin(result["labels"], list(labels))
    places = np.flatnonzero(kept)
    return pick(result, places[np.argsort(-result["scores"][places], kind="stable")])


def ranked(result: Mapping, most: int | None = None) -> list[tuple[int, float]]:
    """Labels of a classifier with their scores, or of a label map with their shares of the pixels, largest first."""
    if kind(result) == "segmentation":
        image = result["labels"]
        parts = (image[i : i + _ROWS].ravel() for i in range(0, len(image), _ROWS))  # counting takes 8 bytes a pixel
        most = int(image.max()) + 1
        pixels = sum(np.bincount(part, minlength=most) for part in parts)
        labels, values = np.flatnonzero(pixels), pixels[pixels > 0] / image.size
    else:
        labels, values = np.arange(count(result)), result["scores"]
    return [(int(labels[i]), float(values[i])) for i in np.argsort(-values, kind="stable")[:most]]


def pieces(result: Mapping) -> list[Piece] | None:
    """The mask of each object, cut to where it is; None without masks."""
    if "pieces" in result:
        return result["pieces"]
    if "masks" not in result:
        return None
    return [cut(mask) for mask in result["masks"]]


def cut(mask: np.ndarray, left: int = 0, top: int = 0) -> Piece:
    """A mask without its empty borders; ``left`` and ``top`` are those of ``mask`` itself."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return Piece(left, top, np.zeros((0, 0), bool))
    inside = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return Piece(left + int(columns[0]), top + int(rows[0]), inside.copy())


def overlaps(boxes: np.ndarray, box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of ``box`` (4,) each of ``boxes`` (N, 4) shares: over their union, and over the smaller of the two."""
    sides = np.minimum(boxes[:, 2:], box[2:]) - np.maximum(boxes[:, :2], box[:2])
    shared = sides.clip(0).prod(axis=1)
    areas, area = (boxes[:, 2:] - boxes[:, :2]).clip(0).prod(axis=1), (box[2:] - box[:2]).clip(0).prod()
    tiny = np.finfo(np.float32).tiny
    return shared / np.maximum(areas + area - shared, tiny), shared / np.maximum(np.minimum(areas, area), tiny)


def mask_overlap(a: Piece, b: Piece) -> float:
    """How much two masks share, over their union."""
    top, left = max(a.top, b.top), max(a.left, b.left)
    bottom = min(a.top + a.mask.shape[0], b.top + b.mask.shape[0])
    right = min(a.left + a.mask.shape[1], b.left + b.mask.shape[1])
    if top >= bottom or left >= right:
        return 0.0
    inside = (p.mask[top - p.top : bottom - p.top, left - p.left : right - p.left] for p in (a, b))
    shared = np.logical_and(*inside).sum()
    return float(shared / max(a.mask.sum() + b.mask.sum() - shared, 1))
