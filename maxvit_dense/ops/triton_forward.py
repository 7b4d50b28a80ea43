"""Forward kernel of partition attention: windows are read from the map where they lie, and written back there."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .triton_tiles import INF, SIZES, Launch, dot, load_bias, load_rows, locate, store_rows, tile_scores


@triton.jit
def _attend(q, k, v, bias, key_inside, scale, top, total, acc, UPCAST: tl.constexpr):
    """One step of the online softmax: running maximum, sum and weighted values after another block of keys."""
    scores = tile_scores(q, k, bias, key_inside, scale, UPCAST)
    new_top = tl.maximum(top, tl.max(scores, 1))
    # A row of minus infinities gets no weights, as in PyTorch, instead of inf - inf.
    shift = tl.where(new_top == -INF, 0.0, new_top)
    weights = tl.exp2(scores - shift[:, None])
    decay = tl.exp2(top - shift)
    total = total * decay + tl.sum(weights, 1)
    acc = acc * decay[:, None] + dot(weights.to(v.dtype), v, UPCAST)
    return new_top, total, acc


@triton.jit(do_not_specialize=SIZES)
def forward_kernel(
    qkv, table, out, log_sum, scale,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    GRID: tl.constexpr, ONE_BLOCK: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Program (head and query block, group of windows). Heads are neighbours in memory, so they are neighbours here."""
    C: tl.constexpr = HEADS * D
    shape = (height, width, rows, cols, window_height, window_width)
    head = tl.program_id(0) % HEADS
    slots = tl.arange(0, BLOCK)
    queries = tl.program_id(0) // HEADS * BLOCK + slots
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    if ONE_BLOCK:  # the same for every window: read once
        bias = load_bias(table, queries, slots, window_height, window_width)

    first = tl.program_id(1) * windows_per_program
    for index in range(first, tl.minimum(first + windows_per_program, windows)):
        window = index % (rows * cols)
        image_start = (index // (rows * cols)).to(tl.int64) * height * width
        q_base = qkv + image_start * 3 * C + head * D
        positions, inside = locate(queries, window, shape, GRID)
        q = load_rows(q_base, positions, inside, 3 * C, D)
        top = tl.full([BLOCK], -INF, tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        acc = tl.zeros([BLOCK, D], tl.float32)
        if ONE_BLOCK:
            k = load_rows(q_base + C, positions, inside, 3 * C, D)
            v = load_rows(q_base + 2 * C, positions, inside, 3 * C, D)
            top, total, acc = _attend(q, k, v, bias, inside, scale, top, total, acc, UPCAST)
        else:
            for start in range(0, window_height * window_width, BLOCK):
                keys = start + slots
                key_positions, key_inside = locate(keys, window, shape, GRID)
                k = load_rows(q_base + C, key_positions, key_inside, 3 * C, D)
                v = load_rows(q_base + 2 * C, key_positions, key_inside, 3 * C, D)
                tile_bias = load_bias(table, queries, keys, window_height, window_width)
                top, total, acc = _attend(q, k, v, tile_bias, key_inside, scale, top, total, acc, UPCAST)

        no_weights = top == -INF
        acc = acc / tl.where(no_weights, 1.0, total)[:, None]
        store_rows(out + image_start * C + head * D, positions, inside, acc, C, D)
        # Plus infinity makes the weights that backward recomputes zero.
        row_sum = tl.where(no_weights, INF, top + tl.log2(total))
        tl.store(log_sum + image_start * HEADS + head * height * width + positions, row_sum, mask=inside)


def forward(qkv: Tensor, table: Tensor, window_size: tuple[int, int], grid: bool, heads: int) -> tuple[Tensor, Tensor]:
    """Attention of every window of a map.

    Args:
        qkv: (B, H, W, 3 * C) contiguous.
        table: (h, 2 * Ph - 1, 2 * Pw - 1) contiguous.
        window_size: (Ph, Pw).
        grid: grid instead of block partition.
        heads: h.

    Returns:
        The output (B, H, W, C), and log2 of each softmax's sum (B, h, H, W) in float32, which backward needs.
    """
    batch, height, width, channels = qkv.shape
    out = qkv.new_empty(batch, height, width, channels // 3)
    log_sum = qkv.new_empty(batch, heads, height, width, dtype=torch.float32)
    launch = Launch(qkv, window_size, grid, heads)
    if launch.windows:
        per_program = launch.windows_per_program(heads * launch.blocks)
        programs = (heads * launch.blocks, launch.groups(per_program))
        forward_kernel[programs](
            qkv, table, out, log_sum, launch.scale, launch.windows, per_program, *launch.shape,
            ONE_BLOCK=launch.blocks == 1, **launch.constants,
        )  # fmt: skip
    return out, log_sum
