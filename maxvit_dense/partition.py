"""Block and grid partition of a feature map, for any map and any window.

Legend used by the whole package: B images, (H, W) map, C channels, window (Ph, Pw) with N = Ph * Pw slots,
nW windows a map, h heads of D channels. Sizes are always (height, width).

A map that the window does not divide is extended at the bottom and right *for one attention layer*, to
hp = ceil(H / Ph) * Ph, wp = ceil(W / Pw) * Pw. The extension is never stored: a slot that lies outside the map
reads the first token of its own window instead and is masked as a key, and no position of the map ever reads it
back. So there is no fill value that could leak.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .sizes import ceil_div, is_multiple, is_same


class Partition(NamedTuple):
    """Where the tokens of a map go when it is cut into windows; or of the maps of a batch, laid end to end.

    Attributes:
        window_size: (Ph, Pw) in tokens.
        tokens: (nW, N) int64; the flat map position (row * W + column) that each window slot reads.
        slots: (H * W,) int64; the window slot that holds each map position.
        whole: how many windows, the first ones, are known to lie inside the map.
        outside: (nW - whole, N) bool; of each other window, True for slots outside the map; None if there are none.
        grid: whether this is the grid partition, for what computes positions instead of reading them.
        images: how many maps are cut, each into nW windows; window 0 of each comes first, then window 1 of each, ...
    """

    window_size: tuple[int, int]
    tokens: Tensor
    slots: Tensor
    whole: int
    outside: Tensor | None
    grid: bool
    images: int = 1


def for_batch(partition: Partition, images: int, map_tokens: int) -> Partition:
    """A partition of one map of ``map_tokens`` positions for a batch of them; one of that batch as it is."""
    if is_same(partition.images, images):
        return partition
    tokens, slots, outside = partition.tokens, partition.slots, partition.outside
    window_tokens, image = tokens.shape[1], torch.arange(images, device=tokens.device).unsqueeze(1)
    window = slots // window_tokens
    slots = slots + (window * (images - 1) + image) * window_tokens
    tokens = (tokens.unsqueeze(1) + image * map_tokens).flatten(0, 1)
    if outside is not None:  # not repeat_interleave: PyTorch's ONNX export takes its length from the example
        outside = outside.unsqueeze(1).expand(-1, images, -1).flatten(0, 1)
    whole = partition.whole * images
    return Partition(partition.window_size, tokens, slots.flatten(), whole, outside, partition.grid, images)


def _cut(position: Tensor, windows: int, grid: bool, window: int) -> tuple[Tensor, Tensor]:
    """(window, place in it) of each position along one axis of ``windows`` windows."""
    # Remainders are spelled as quotients: ONNX export knows no remainder by a symbolic size.
    if grid:  # window r holds r, r + windows, r + 2 * windows, ...
        place = position // windows
        return position - place * windows, place
    window_index = position // window
    return window_index, position - window_index * window


def _join(window_index: Tensor, place: Tensor, windows: int, grid: bool, window: int) -> Tensor:
    """Inverse of :func:`_cut`."""
    return place * windows + window_index if grid else window_index * window + place


def _whole_windows(length: int, windows: int, window: int, grid: bool) -> int:
    """How many windows along one axis, the first ones, lie inside the map."""
    return max(0, length - (window - 1) * windows) if grid else length // window


def make_partition(
    height: int, width: int, window_size: tuple[int, int], grid: bool, device: torch.device, sort: bool = True
) -> Partition:
    """Cuts a (height, width) map into windows.

    Args:
        height: rows of the map.
        width: columns of the map.
        window_size: (Ph, Pw).
        grid: False for block attention (window (i, j) holds the rows i*Ph ... i*Ph + Ph-1, columns likewise), True for
            grid attention (group (r, c) holds the rows r, r + hp/Ph, r + 2*hp/Ph, ..., columns likewise).
        device: where the index tensors shall live.
        sort: windows inside the map first, so that only the others need a mask. Not for symbolic sizes: how many
            there are would be asked.

    Source: MaxViT paper (arXiv 2204.01697), section 3.2; edges as this package's contract defines them.
    """
    ph, pw = window_size
    rows, cols = ceil_div(height, ph), ceil_div(width, pw)  # windows along each axis

    # Row and column that each slot reads, (rows * cols, N); windows and their slots in row-major order.
    window_row, window_col = _cut(torch.arange(rows * cols, device=device).unsqueeze(1), rows, False, cols)
    slot_row, slot_col = _cut(torch.arange(ph * pw, device=device), ph, False, pw)
    row = _join(window_row, slot_row, rows, grid, ph)
    col = _join(window_col, slot_col, cols, grid, pw)
    row_of, place_row = _cut(torch.arange(height, device=device).unsqueeze(1), rows, grid, ph)
    col_of, place_col = _cut(torch.arange(width, device=device), cols, grid, pw)
    window, place = row_of * cols + col_of, place_row * pw + place_col
    whole = rows * cols
    outside: Tensor | None = None
    if not (is_multiple(height, ph) and is_multiple(width, pw)):
        whole = 0
        outside = (row >= height) | (col >= width)
        # Every window begins inside the map, so its first row and column can stand in for those outside.
        row, col = torch.where(row < height, row, row[:, :1]), torch.where(col < width, col, col[:, :1])
        if sort:
            whole_rows, whole_cols = _whole_windows(height, rows, ph, grid), _whole_windows(width, cols, pw, grid)
            whole = whole_rows * whole_cols
            at_edge = (window_row >= whole_rows) | (window_col >= whole_cols)
            order = torch.argsort(at_edge.flatten().int(), stable=True)
            row, col, outside = row[order], col[order], outside[order][whole:]
            window = torch.argsort(order)[window]
    return Partition((ph, pw), row * width + col, (window * (ph * pw) + place).flatten(), whole, outside, grid)
