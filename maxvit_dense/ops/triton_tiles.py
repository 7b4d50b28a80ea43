"""What the Triton kernels share: where a window's slots lie on the map, and the scores of one tile.

Legend: a *slot* is a place n = a * Pw + b of a window of N = Ph * Pw; a *tile* is a block of query slots against a
block of key slots of one window and head. Scores are kept in units of log2, for the hardware's exponential is exp2.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sizes import ceil_div

# 64 slots: the rows of one wgmma of a Hopper warp group, or of four mma on Ampere; the usual window has 49. Tokens of
# several windows do not share a tile: its other blocks would be products of strangers. Instead a program serves one
# window after another for one head, with the bias read once. Empty slots cost arithmetic (49 * 49 of 64 * 64 scores are
# used), not traffic, and by count a window is bound by traffic: 2 products of 64 * 64 * 32 for 12.5 KB in bf16.
BLOCK = 64
# Four warps: the four 16-row strips of a tile.
WARPS = 4
STAGES = 2
# Programs of a launch, when there are windows enough: two waves of four on each of an H100's 132 multiprocessors.
PROGRAMS = 1024
# The interpreter multiplies bfloat16 by its bit patterns (triton 3.8): it gets the same values as float32.
INTERPRETED = triton.knobs.runtime.interpret
# Sizes that vary from image to image: no new compilation when one happens to be 1 or a multiple of 16.
SIZES = ["windows", "windows_per_program", "height", "width", "rows", "cols", "window_height", "window_width"]

LOG2_E = tl.constexpr(1.4426950408889634)
INF = tl.constexpr(float("inf"))


@triton.jit
def dot(a, b, UPCAST: tl.constexpr):
    """Matrix product accumulated in float32; float32 operands are not rounded to TF32."""
    if UPCAST:
        a = a.to(tl.float32)
        b = b.to(tl.float32)
    return tl.dot(a, b, input_precision="ieee")


@triton.jit
def locate(slots, window, shape, GRID: tl.constexpr):
    """(flat map position, whether it lies inside the map) of slots of one window, counted within its image."""
    height, width, rows, cols, window_height, window_width = shape
    if GRID:
        row = slots // window_width * rows + window // cols
        col = slots % window_width * cols + window % cols
    else:
        row = window // cols * window_height + slots // window_width
        col = window % cols * window_width + slots % window_width
    inside = (slots < window_height * window_width) & (row < height) & (col < width)
    return row * width + col, inside


@triton.jit
def table_places(slots, window_width):
    """Of two slots, the difference of these plus the table's centre is the table entry of the pair."""
    return slots // window_width * (2 * window_width - 1) + slots % window_width


@triton.jit
def load_bias(table, query_slots, key_slots, window_height, window_width):
    """Bias of a tile, read from one head's table: (queries, keys) float32 in units of log2; 0 beyond the window."""
    centre = (window_height - 1) * (2 * window_width - 1) + window_width - 1
    tokens = window_height * window_width
    entry = table_places(key_slots, window_width)[None, :] - table_places(query_slots, window_width)[:, None] + centre
    pair = (query_slots < tokens)[:, None] & (key_slots < tokens)[None, :]
    return tl.load(table + entry, mask=pair, other=0.0).to(tl.float32) * LOG2_E


@triton.jit
def load_rows(base, positions, inside, STRIDE: tl.constexpr, D: tl.constexpr):
    """(slots, D): D channels of each position of a map whose rows are STRIDE apart; zeros outside the map."""
    offsets = positions[:, None] * STRIDE + tl.arange(0, D)[None, :]
    return tl.load(base + offsets, mask=inside[:, None], other=0.0)


@triton.jit
def store_rows(base, positions, inside, values, STRIDE: tl.constexpr, D: tl.constexpr):
    """Writes (slots, D) values to where :func:`load_rows` reads."""
    offsets = positions[:, None] * STRIDE + tl.arange(0, D)[None, :]
    tl.store(base + offsets, values.to(base.dtype.element_ty), mask=inside[:, None])


@triton.jit
def tile_scores(q, k, bias, key_inside, scale, UPCAST: tl.constexpr):
    """(queries, keys) float32 scores in units of log2; minus infinity for keys outside the map."""
    scores = dot(q, tl.trans(k), UPCAST) * (scale * LOG2_E) + bias
    return tl.where(key_inside[None, :], scores, -INF)


class Launch:
    """The figures of one call that the kernels' launches share."""

    def __init__(self, qkv: Tensor, window_size: tuple[int, int], grid: bool, heads: int):
        batch, height, width, channels = qkv.shape
        rows, cols = ceil_div(height, window_size[0]), ceil_div(width, window_size[1])
        head_size = channels // (3 * heads)
        self.scale = head_size**-0.5
        self.windows = batch * rows * cols
        self.shape = (height, width, rows, cols, *window_size)
        self.window_size = window_size
        self.tokens = window_size[0] * window_size[1]
        self.blocks = ceil_div(self.tokens, BLOCK)
        self.constants = {
            "HEADS": heads,
            "D": head_size,
            "BLOCK": BLOCK,
            "GRID": grid,
            "UPCAST": INTERPRETED and qkv.dtype == torch.bfloat16,
            "num_warps": WARPS,
            "num_stages": STAGES,
        }

    def windows_per_program(self, programs_per_window: int) -> int:
        """How many windows a program serves one after the other, so that a launch has about PROGRAMS programs."""
        return ceil_div(self.windows * programs_per_window, PROGRAMS)

    def groups(self, windows_per_program: int) -> int:
        return ceil_div(self.windows, windows_per_program)
