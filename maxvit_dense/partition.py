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

from .sizes import ceil_div, is_multiple


class Partition(NamedTuple):
    """Where the tokens of a map go when it is cut into windows.

    Attributes:
        window_size: (Ph, Pw) in tokens.
        tokens: (nW * N,) int64; the flat map position (row * W + column) that each window slot reads.
        slots: (H * W,) int64; the window slot that holds each map position.
        mask: (nW, 1, 1, N) bool, True for slots inside the map; None if every slot is.
        grid: whether this is the grid partition, for what computes positions instead of reading them.
    """

    window_size: tuple[int, int]
    tokens: Tensor
    slots: Tensor
    mask: Tensor | None
    grid: bool


def _cut(position: Tensor, windows: int, window: int, grid: bool) -> tuple[Tensor, Tensor]:
    """(window, place in it) of each position along one axis of ``windows`` windows."""
    if grid:  # window r holds r, r + windows, r + 2 * windows, ...
        return position % windows, position // windows
    return position // window, position % window


def _join(window_index: Tensor, place: Tensor, windows: int, window: int, grid: bool) -> Tensor:
    """Inverse of :func:`_cut`."""
    return place * windows + window_index if grid else window_index * window + place


def make_partition(
    height: int, width: int, window_size: tuple[int, int], grid: bool, device: torch.device
) -> Partition:
    """Cuts a (height, width) map into windows.

    Args:
        height: rows of the map.
        width: columns of the map.
        window_size: (Ph, Pw).
        grid: False for block attention (window (i, j) holds the rows i*Ph ... i*Ph + Ph-1, columns likewise), True for
            grid attention (group (r, c) holds the rows r, r + hp/Ph, r + 2*hp/Ph, ..., columns likewise).
        device: where the index tensors shall live.

    Source: MaxViT paper (arXiv 2204.01697), section 3.2; edges as this package's contract defines them.
    """
    ph, pw = window_size
    rows, cols = ceil_div(height, ph), ceil_div(width, pw)  # windows along each axis

    slot = torch.arange(rows * cols * ph * pw, device=device)
    window, place = slot // (ph * pw), slot % (ph * pw)
    row = _join(window // cols, place // pw, rows, ph, grid)
    col = _join(window % cols, place % pw, cols, pw, grid)
    mask: Tensor | None = None
    if not (is_multiple(height, ph) and is_multiple(width, pw)):
        # Every window begins inside the map, so its first row and column can stand in for those outside.
        first = torch.zeros_like(place)
        mask = ((row < height) & (col < width)).view(-1, 1, 1, ph * pw)
        row = torch.where(row < height, row, _join(window // cols, first, rows, ph, grid))
        col = torch.where(col < width, col, _join(window % cols, first, cols, pw, grid))

    position = torch.arange(height * width, device=device)
    window_row, place_row = _cut(position // width, rows, ph, grid)
    window_col, place_col = _cut(position % width, cols, pw, grid)
    slots = (window_row * cols + window_col) * (ph * pw) + place_row * pw + place_col
    return Partition((ph, pw), row * width + col, slots, mask, grid)


def make_partitions(
    height: int, width: int, window_size: tuple[int, int], device: torch.device
) -> tuple[Partition, Partition]:
    """Block and grid partition of a (height, width) map, built once for all blocks of a stage."""
    block = make_partition(height, width, window_size, False, device)
    return block, make_partition(height, width, window_size, True, device)


class _Rearrange(torch.autograd.Function):
    """index_select whose gradient is index_select too, since no position but those of ``back`` takes part in it.

    PyTorch's own gradient adds rows to zeros one by one, in an order that CUDA does not fix.
    """

    generate_vmap_rule = True  # for gradients of single images by torch.func

    @staticmethod
    def forward(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
        return rows.index_select(0, index)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        ctx.save_for_backward(*inputs[2:])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        back, unused = ctx.saved_tensors
        grad = grad.index_select(0, back)
        if unused is not None:
            grad = grad.masked_fill(unused, 0.0)
        return grad, None, None, None


@torch.jit.unused
def _rearrange(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
    if torch.compiler.is_exporting() or torch.jit.is_tracing() or not (torch.is_grad_enabled() and rows.requires_grad):
        return rows.index_select(0, index)
    return _Rearrange.apply(rows, index, back, unused)


def rearrange(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None = None) -> Tensor:
    """Rows in another order: (n, C) to (len(index), C).

    Args:
        rows: (n, C).
        index: (m,) the row that each place reads.
        back: (n,) the place whose gradient each row receives; other places must not have any.
        unused: (n, 1) bool, True for rows that no place reads, where ``back`` holds any number.
    """
    if torch.jit.is_scripting():
        return rows.index_select(0, index)
    else:  # spelled out: TorchScript must not compile this line
        return _rearrange(rows, index, back, unused)


def flat_index(index: Tensor, batch: int, map_tokens: int) -> Tensor:
    """Repeats an index into one map of ``map_tokens`` entries for B maps laid end to end, (B * len(index),)."""
    if batch == 1:
        return index
    offsets = torch.arange(batch, device=index.device) * map_tokens
    return (offsets[:, None] + index[None, :]).reshape(-1)
