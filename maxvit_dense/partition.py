"""Block and grid partition of a feature map, for any map and any window.

Legend used by the whole package: B images, (H, W) map, C channels, window (Ph, Pw) with N = Ph * Pw slots,
nW windows a map, h heads of D channels. Sizes are always (height, width).

A map that the window does not divide is extended at the bottom and right *for one attention layer*, to
hp = ceil(H / Ph) * Ph, wp = ceil(W / Pw) * Pw. The extension is never stored: a slot that lies outside the map
reads the first token of its own window instead and is masked as a key, and no position of the map ever reads it
back. So there is no fill value that could leak.
"""

from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import statically_known_true
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_KEPT = 64  # partitions of a process: both kinds for the four stages of eight image sizes


def ceil_div(length: int, by: int) -> int:
    """length / by, rounded up."""
    return (length + by - 1) // by


def is_exporting() -> bool:
    """Whether torch.export is tracing; PyTorch before 2.7 does not tell."""
    ask = getattr(torch.compiler, "is_exporting", None)
    return ask is not None and ask()


def is_multiple(length: int, of: int) -> bool:
    """Whether ``of`` divides ``length``; of a symbolic length, whether that is certain.

    Asking a symbolic size a question compiles one program per answer, so callers compute the same result, a little
    slower, when the answer is not certain.
    """
    if torch.jit.is_scripting():
        return length % of == 0
    else:  # spelled out: TorchScript must not compile this line
        # torch.jit.trace hands sizes over as tensors, and would record the answer for the size that it sees.
        return not torch.jit.is_tracing() and statically_known_true(length % of == 0)


def is_same(a: int, b: int) -> bool:
    """Whether two sizes are equal; of symbolic sizes, whether that is certain."""
    if torch.jit.is_scripting():
        return a == b
    else:
        return not torch.jit.is_tracing() and statically_known_true(a == b)


class Partition(NamedTuple):
    """Where the tokens of a map go when it is cut into windows.

    Attributes:
        window_size: (Ph, Pw) in tokens.
        tokens: (nW, N) int64; the flat map position (row * W + column) that each window slot reads.
        slots: (H * W,) int64; the window slot that holds each map position.
        whole: how many windows, the first ones, are known to lie inside the map.
        outside: (nW - whole, N) bool; of each other window, True for slots outside the map; None if there are none.
        grid: whether this is the grid partition, for what computes positions instead of reading them.
    """

    window_size: tuple[int, int]
    tokens: Tensor
    slots: Tensor
    whole: int
    outside: Tensor | None
    grid: bool


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
    window_row = torch.arange(rows, device=device).repeat_interleave(cols).unsqueeze(1)
    window_col = torch.arange(cols, device=device).repeat(rows).unsqueeze(1)
    row = _join(window_row, torch.arange(ph, device=device).repeat_interleave(pw), rows, grid, ph)
    col = _join(window_col, torch.arange(pw, device=device).repeat(ph), cols, grid, pw)
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


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)  # or training could not use what an evaluation made
def _kept_partition(height, width, window_size, grid, device) -> Partition:
    return make_partition(height, width, window_size, grid, device)


@torch.library.custom_op(
    "maxvit_dense::partition",
    mutates_args=(),
    schema="(Tensor like, SymInt height, SymInt width, SymInt ph, SymInt pw, bool grid) -> (Tensor, Tensor, Tensor)",
)
def _partition_operator(like, height, width, ph, pw, grid):
    """A partition's tensors in one step: for sizes left free, the compiler simplified their arithmetic for minutes."""
    found = make_partition(height, width, (ph, pw), grid, like.device, sort=False)
    nowhere = torch.zeros_like(found.tokens, dtype=torch.bool)
    return found.tokens, found.slots, nowhere if found.outside is None else found.outside


@_partition_operator.register_fake
def _(like, height, width, ph, pw, grid):
    slots = like.new_empty((ceil_div(height, ph) * ceil_div(width, pw), ph * pw), dtype=torch.bool)
    return slots.to(torch.int64), like.new_empty(height * width, dtype=torch.int64), slots


@torch.jit.unused
def _find_partition(like: Tensor, height: int, width: int, window_size: tuple[int, int], grid: bool) -> Partition:
    if torch.compiler.is_compiling() and not is_exporting():
        tokens, slots, outside = _partition_operator(like, height, width, *window_size, grid)
        if is_multiple(height, window_size[0]) and is_multiple(width, window_size[1]):
            return Partition(window_size, tokens, slots, tokens.shape[0], None, grid)
        return Partition(window_size, tokens, slots, 0, outside, grid)
    if is_exporting() or torch.jit.is_tracing():
        return make_partition(height, width, window_size, grid, like.device, sort=False)
    kept = not is_in_torch_dispatch_mode()  # fake tensors, for example, must not be kept
    return (_kept_partition if kept else make_partition)(height, width, window_size, grid, like.device)


def find_partitions(like: Tensor, height: int, width: int, window_size: tuple[int, int]) -> tuple[Partition, Partition]:
    """Block and grid partition of a (height, width) map on the device of ``like``, made once for a size and kept."""
    if torch.jit.is_scripting():
        block = make_partition(height, width, window_size, False, like.device)
        return block, make_partition(height, width, window_size, True, like.device)
    else:  # spelled out: TorchScript must not compile these lines
        block = _find_partition(like, height, width, window_size, False)
        return block, _find_partition(like, height, width, window_size, True)


class _MoveRows(torch.autograd.Function):
    """index_select whose gradient is index_select too, since no position but those of ``back`` takes part in it.

    PyTorch's own gradient adds rows to zeros one by one, in an order that CUDA does not fix.
    """

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
        return rows.index_select(0, index)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, index, back, unused = inputs
        ctx.save_for_backward(back, unused)
        ctx.save_for_forward(index)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        back, unused = ctx.saved_tensors
        grad = grad.index_select(0, back)
        if unused is not None:
            grad = grad.masked_fill(unused, 0.0)
        return grad, None, None, None


class _MoveRowsForward(_MoveRows):
    """The same with a forward-mode derivative, apart because PyTorch's compiler takes no function that has one."""

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_) -> Tensor:
        (index,) = ctx.saved_tensors
        return tangent.index_select(0, index)


@torch.jit.unused
def _move_rows(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
    if is_exporting() or torch.jit.is_tracing():
        return rows.index_select(0, index)
    return (_MoveRows if torch.compiler.is_compiling() else _MoveRowsForward).apply(rows, index, back, unused)


def move_rows(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None = None) -> Tensor:
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
        return _move_rows(rows, index, back, unused)
