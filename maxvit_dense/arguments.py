"""What users may give for sizes, windows and images, and what they are told otherwise."""

import math
from collections.abc import Iterable
from numbers import Real
from operator import index
from typing import Any

import torch
from torch import Tensor

PARTITION_RATIO = 32  # stride of the last stage, where a "ratio" window covers the whole map


def _pair_of_sizes(value: Any) -> tuple[int, int] | None:
    """(height, width) of one positive whole number, numpy's say, or of two; None of anything else."""
    try:
        sizes = tuple(value) if isinstance(value, Iterable) else (value, value)
        height, width = (0 if isinstance(size, bool) else index(size) for size in sizes)
    except (TypeError, ValueError):
        return None
    return (height, width) if height > 0 and width > 0 else None


def parse_img_size(img_size: int | tuple[int, int]) -> tuple[int, int]:
    """Reads an image size argument: (height, width) in pixels.

    Raises:
        ValueError: neither a positive int nor a pair of them.
    """
    sizes = _pair_of_sizes(img_size)
    if sizes is None:
        raise ValueError(f"img_size={img_size!r}: give a positive number of pixels or a pair (height, width)")
    return sizes


def check_network(num_classes: int, in_chans: int, drop_rate: float, drop_path_rate: float) -> None:
    """Refuses what a network could be built with and could not work with.

    Raises:
        ValueError: an argument that is no number in its range.
    """
    for name, value, least in (("num_classes", num_classes, 0), ("in_chans", in_chans, 1)):
        if isinstance(value, bool) or not hasattr(value, "__index__") or index(value) < least:
            raise ValueError(f"{name}={value!r}: give a whole number from {least}")
    for name, value in (("drop_rate", drop_rate), ("drop_path_rate", drop_path_rate)):
        if isinstance(value, bool) or not isinstance(value, Real) or math.isnan(value) or not 0 <= value < 1:
            raise ValueError(f"{name}={value!r}: give a number from 0 to below 1")


def parse_window_size(window_size: int | tuple[int, int] | str) -> tuple[bool, tuple[int, int]]:
    """Reads a window size argument.

    Returns:
        (is it "ratio", (Ph, Pw)); the size of "ratio" follows the image at each forward call, (0, 0) stands for it.

    Raises:
        ValueError: neither a positive int, nor a pair of them, nor "ratio".
    """
    if isinstance(window_size, str) and window_size == "ratio":
        return True, (0, 0)
    sizes = _pair_of_sizes(window_size)
    if sizes is None:
        raise ValueError(
            f"window_size={window_size!r}: give a positive int, a pair (height, width) of them, or 'ratio' "
            f"(the image size divided by {PARTITION_RATIO})"
        )
    return False, sizes


def check_images(x: Tensor, in_chans: int, sizes: list[tuple[int, int]] | None = None) -> Tensor:
    """Returns the images, or says what is wrong with them.

    Args:
        sizes: those of the images in a batch where they cannot be used.

    Raises:
        TypeError: no tensor, or not of floating point numbers.
        ValueError: not of shape (B, in_chans, H, W) with H, W >= 1; ``sizes`` were given.
    """
    if not torch.jit.is_scripting() and not isinstance(x, Tensor):
        raise TypeError(
            f"images as {type(x).__name__}: MaxViT takes a tensor (batch, {in_chans}, height, width), one such as "
            "torch.stack(...) of a list or torch.from_numpy(...) of an array gives"
        )
    if not x.is_floating_point():
        raise TypeError(
            f"images of {x.dtype}: MaxViT takes floating point numbers, normalised; images.float() / 255 is a start"
        )
    if sizes is not None:
        raise ValueError("sizes: scripted, traced and exported networks take images that fill their canvas; leave out")
    if x.dim() != 4:
        raise ValueError(f"images of shape {list(x.shape)}: MaxViT takes (batch, {in_chans}, height, width)")
    if x.shape[1] != in_chans:
        raise ValueError(
            f"images of shape {list(x.shape)} have {x.shape[1]} channels: this network was built for {in_chans}; "
            f"build it with in_chans={x.shape[1]} or convert the images"
        )
    if x.shape[2] < 1 or x.shape[3] < 1:
        raise ValueError(f"images of shape {list(x.shape)}: height and width must be at least 1 pixel")
    return x


def check_sizes(sizes: Any, x: Tensor) -> list[tuple[int, int]]:
    """(h, w) of each image of a batch (B, C, H, W), from pairs or an integer tensor (B, 2).

    Raises:
        ValueError: not one pair of whole numbers for each image, from 1 to the canvas's height and width.
    """
    canvas, given = (int(x.shape[2]), int(x.shape[3])), sizes
    if isinstance(sizes, Tensor) and not sizes.is_floating_point():
        sizes = sizes.tolist()
    pairs = [_pair_of_sizes(size) if isinstance(size, Iterable) else None for size in _listed(sizes)]
    if len(pairs) != x.shape[0]:
        raise ValueError(f"sizes={given!r}: give (height, width) in pixels of each of the {x.shape[0]} images")
    for i, pair in enumerate(pairs):
        if pair is None or pair[0] > canvas[0] or pair[1] > canvas[1]:
            raise ValueError(
                f"sizes[{i}]={_listed(sizes)[i]!r}: give (height, width) of image {i} as whole numbers of pixels, from "
                f"1 to the {canvas[0]} x {canvas[1]} of the batch's canvas"
            )
    return pairs


def _listed(sizes: Any) -> list:
    return list(sizes) if isinstance(sizes, Iterable) else []
