"""Masks of objects, predicted on a small square over each box, put into the picture."""

import math

import numpy as np


def _samples(start: float, end: float, first: int, last: int, side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where pixels ``first`` to ``last`` of the picture lie in a mask of ``side``: neighbours, and weights of both."""
    position = ((np.arange(first, last, dtype=np.float32) + np.float32(0.5)) - np.float32(start)) / np.float32(
        end - start
    ) * side - np.float32(0.5)
    lower = np.floor(position).astype(np.int64)
    weight = (position - lower).astype(np.float32)
    # Beside the mask there are zeros: a position in the outer half of its edge sees them.
    weights = np.stack([(1 - weight) * ((lower >= 0) & (lower < side)), weight * ((lower >= -1) & (lower < side - 1))])
    return lower.clip(0, side - 1), (lower + 1).clip(0, side - 1), weights


def paste_masks(masks: np.ndarray, boxes: np.ndarray, height: int, width: int, threshold: float) -> np.ndarray:
    """Bilinear, half-pixel centres, zeros beside the mask: mmdet's rule (``fcn_mask_head._do_paste_mask``).

    Args:
        masks: (N, h, w) probabilities over each box.
        boxes: (N, 4) x1, y1, x2, y2 in pixels of the picture.
        height: of the picture.
        width: of the picture.
        threshold: from which a pixel belongs to the object.

    Returns:
        (N, height, width) bool.
    """
    pasted = np.zeros((len(masks), height, width), bool)
    for out, mask, (x1, y1, x2, y2) in zip(pasted, masks, boxes.tolist(), strict=True):
        left, right = max(math.floor(x1) - 1, 0), min(math.ceil(x2) + 1, width)
        top, bottom = max(math.floor(y1) - 1, 0), min(math.ceil(y2) + 1, height)
        if x2 <= x1 or y2 <= y1 or left >= right or top >= bottom:
            continue
        above, below, down = _samples(y1, y2, top, bottom, mask.shape[0])
        before, after, across = _samples(x1, x2, left, right, mask.shape[1])
        lines = mask[above] * down[0][:, None] + mask[below] * down[1][:, None]
        values = lines[:, before] * across[0] + lines[:, after] * across[1]
        out[top:bottom, left:right] = values >= threshold
    return pasted
