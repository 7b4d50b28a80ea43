"""What users may give for sizes, windows and images, and what they are told otherwise."""

from collections.abc import Iterable
from operator import index
from typing import Any

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


def check_images(x: Tensor, in_chans: int) -> Tensor:
    """Returns the images, or says what is wrong with them.

    Raises:
        ValueError: not of shape (B, in_chans, H, W) with H, W >= 1.
    """
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
