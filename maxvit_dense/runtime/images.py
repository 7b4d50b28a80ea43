"""Images to what a network takes, in numpy and Pillow: the transforms of mmcv and of timm to the last bit."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError

_COEFFICIENT_BITS = 11  # of OpenCV's fixed-point weights


def _taps(length: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lower and upper neighbour of each target position and the upper's weight in 1/2048, OpenCV's INTER_LINEAR."""
    # In float32 as OpenCV computes them: half-pixel centres, no antialiasing.
    position = ((np.arange(target) + 0.5) * (1 / (target / length)) - 0.5).astype(np.float32)
    lower = np.floor(position).astype(np.int64)
    fixed = np.rint((position - lower) * (1 << _COEFFICIENT_BITS)).astype(np.int32)
    return lower.clip(0, length - 1), (lower + 1).clip(0, length - 1), fixed


def resize_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W, C) uint8 to (height, width, C), as ``cv2.resize`` does by default, in its fixed-point arithmetic."""
    if image.shape[:2] == (height, width):
        return image
    one = 1 << _COEFFICIENT_BITS
    left, right, across = _taps(image.shape[1], width)
    top, bottom, down = _taps(image.shape[0], height)
    # Only rows that are read; the sums fit in 32 bits.
    rows, places = np.unique(np.concatenate([top, bottom]), return_inverse=True)
    values = image[rows].astype(np.int32)
    across = across[None, :, None]
    lines = values.take(left, 1)
    lines *= one - across
    other = values.take(right, 1)
    other *= across
    lines += other
    lines >>= 4
    down = down[:, None, None]
    mixed = lines.take(places[:height], 0)
    mixed *= one - down
    mixed >>= 16
    other = lines.take(places[height:], 0)
    other *= down
    other >>= 16
    mixed += other
    mixed += 2
    mixed >>= 2
    return mixed.clip(0, 255, out=mixed).astype(np.uint8)


def _fit(image: np.ndarray, short: int, long: int) -> np.ndarray:
    """As large as fits: short side at most ``short``, long side at most ``long``, as mmcv's keep_ratio."""
    height, width = image.shape[:2]
    scale = min(long / max(height, width), short / min(height, width))
    target = int(height * scale + 0.5), int(width * scale + 0.5)
    if 0 in target:
        raise InputError(f"An image of {width}x{height} pixels would have none left, made to fit {long}x{short}.")
    return resize_bilinear(image, *target)


def _stretch(image: np.ndarray, height: int, width: int) -> np.ndarray:
    return resize_bilinear(image, height, width)


def _keep(image: np.ndarray) -> np.ndarray:
    return image


def _crop(image: np.ndarray, size: list[int], scale: list[int], interpolation: str) -> np.ndarray:
    """timm's evaluation: short side (or both) to ``scale``, then the centre of ``size``, with Pillow's filters."""
    picture = Image.fromarray(image)
    width, height = picture.size
    if len(scale) == 1:  # torchvision's rule for one number: the other side is cut off, not rounded
        short, long = min(width, height), max(width, height)
        other = int(scale[0] * long / short)
        target = (scale[0], other) if width <= height else (other, scale[0])
    else:
        target = (scale[1], scale[0])
    if (width, height) != target:
        picture = picture.resize(target, getattr(Image.Resampling, interpolation.upper()))
    top, left = (int(round((have - want) / 2.0)) for have, want in zip(picture.size[::-1], size, strict=True))
    return np.asarray(picture.crop((left, top, left + size[1], top + size[0])))


RESIZERS = dict(fit=_fit, stretch=_stretch, keep=_keep, crop=_crop)


def fixed_size(rules: dict[str, Any]) -> tuple[int, int] | None:
    """Height and width to which every image is brought; None where they depend on the image."""
    resize = rules["resize"]
    size = resize["size"] if resize["rule"] == "crop" else (resize.get("height"), resize.get("width"))
    return _padded(size, rules) if None not in size else None


def _padded(size: Sequence[int], rules: dict[str, Any]) -> tuple[int, int]:
    multiple = rules.get("pad_multiple", 1)
    return tuple(math.ceil(side / multiple) * multiple for side in size)


def prepare(image: np.ndarray, rules: dict[str, Any]) -> tuple[np.ndarray, tuple[int, int]]:
    """RGB uint8 (H, W, 3) to what the network takes.

    Args:
        image: as decoded.
        rules: ``Card.preprocessing``.

    Returns:
        (3, h, w) float32, normalised and padded, and the height and width before the padding.
    """
    arguments = dict(rules["resize"])
    image = RESIZERS[arguments.pop("rule")](image, **arguments)
    height, width = image.shape[:2]
    if rules["order"] == "bgr":
        image = image[:, :, ::-1]
    values = image.astype(np.float32).transpose(2, 0, 1)
    mean, std = (np.asarray(rules[key], np.float32)[:, None, None] for key in ("mean", "std"))
    values = (values - mean) / std
    extra = [padded - side for padded, side in zip(_padded((height, width), rules), (height, width), strict=True)]
    if any(extra):
        values = np.pad(values, ((0, 0), (0, extra[0]), (0, extra[1])))
    return np.ascontiguousarray(values), (height, width)
