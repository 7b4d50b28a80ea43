"""Forward kernel of partition attention: windows are read from the map where they lie, and written back there."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sizes import ceil_div
from .triton_tiles import (
    BLOCK,
    INTERPRETED,
    MINUS_INF,
    PROGRAMS,
    SIZES,
    WARPS,
    dot,
    load_bias,
    load_rows,
    map_positions,
    store_rows,
    tile_scores,
)


@triton.jit
def _attend(q, k, v, bias, key_inside, scale, top, total, acc, UPCAST: tl.constexpr):
    """One step of the online softmax: running maximum, sum and weighted values after another block of keys."""
    scores = tile_scores(q, k, bias, key_inside, scale, UPCAST)
    new_top = tl.maximum(top, tl.max(scores, 1))
    # A row of minus infinities gets no weights, as in PyTorch, instead of inf - inf.
    shift = tl.where(new_top == MINUS_INF, 0.0, new_top)
    weights = tl.exp2(scores - shift[:, None])
    decay = tl.exp2(top - shift)
    total = total * decay + tl.sum(weights, 1)
    acc = acc * decay[:, None] + dot(weights.to(v.dtype), v, UPCAST)
    return new_top, total, acc


@triton.jit(do_not_specialize=SIZES)
def _forward_kernel(
    qkv, table, out, log_sum,
    stride_b, stride_h, stride_w, scale,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr,
    GRID: tl.constexpr, ONE_BLOCK: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Program (head, query block; group of windows). Heads are neighbours in memory, so they are neighbours here."""
    head = tl.program_id(0) % HEADS
    queries = tl.program_id(0) // HEADS * BLOCK + tl.arange(0, BLOCK)
    channels: tl.constexpr = HEADS * D
    tokens = window_height * window_width
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    keys = tl.arange(0, BLOCK)
    if ONE_BLOCK:  # the same for every window: read once
        bias = load_bias(table, queries, keys, window_height, window_width)

    first = tl.program_id(1) * windows_per_program
    for index in range(first, tl.minimum(first + windows_per_program, windows)):
        image = (index // (rows * cols)).to(tl.int64)
        window = index % (rows * cols)
        q_base = qkv + image * stride_b + head * D
        row, col, inside = map_positions(
            queries, window, height, width, rows, cols, window_height, window_width, GRID
        )
        q = load_rows(q_base, row * stride_h + col * stride_w, inside, D)
        top = tl.full([BLOCK], MINUS_INF, tl.float32)
        total = tl.zeros([BLOCK], tl.float32)
        acc = tl.zeros([BLOCK, D], tl.float32)
        if ONE_BLOCK:
            places = row * stride_h + col * stride_w
            k = load_rows(q_base + channels, places, inside, D)
            v = load_rows(q_base + 2 * channels, places, inside, D)
            top, total, acc = _attend(q, k, v, bias, inside, scale, top, total, acc, UPCAST)
        else:
            for start in range(0, tokens, BLOCK):
                key_row, key_col, key_inside = map_positions(
                    start + keys, window, height, width, rows, cols, window_height, window_width, GRID
                )
                places = key_row * stride_h + key_col * stride_w
                k = load_rows(q_base + channels, places, key_inside, D)
                v = load_rows(q_base + 2 * channels, places, key_inside, D)
                tile_bias = load_bias(table, queries, start + keys, window_height, window_width)
                top, total, acc = _attend(q, k, v, tile_bias, key_inside, scale, top, total, acc, UPCAST)

        total = tl.where(top == MINUS_INF, 1.0, total)
        position = row * width + col
        out_base = out + image * height * width * channels + head * D
        store_rows(out_base, position * channels, inside, acc / total[:, None], D)
        log_sum_base = log_sum + (image * HEADS + head) * height * width
        tl.store(log_sum_base + position, top + tl.log2(total), mask=inside)


def forward(qkv: Tensor, table: Tensor, window_size: tuple[int, int], grid: bool, heads: int) -> tuple[Tensor, Tensor]:
    """Attention output (B, H, W, C) and log2 of the softmax's sums (B, h, H, W) float32, which backward needs.

    ``qkv`` (B, H, W, 3 * C) has a contiguous last dimension; ``table`` (h, 2 * Ph - 1, 2 * Pw - 1) is contiguous.
    """
    batch, height, width, channels = *qkv.shape[:3], qkv.shape[3] // 3
    out = qkv.new_empty(batch, height, width, channels)
    log_sum = qkv.new_empty(batch, heads, height, width, dtype=torch.float32)
    if out.numel() == 0:
        return out, log_sum
    tokens = window_size[0] * window_size[1]
    rows, cols = ceil_div(height, window_size[0]), ceil_div(width, window_size[1])
    windows = batch * rows * cols
    blocks = ceil_div(tokens, BLOCK)
    per_program = ceil_div(windows * heads * blocks, PROGRAMS)
    _forward_kernel[(heads * blocks, ceil_div(windows, per_program))](
        qkv, table, out, log_sum, *qkv.stride()[:3], (channels // heads) ** -0.5,
        windows, per_program, height, width, rows, cols, *window_size,
        HEADS=heads, D=channels // heads, BLOCK=BLOCK, GRID=grid, ONE_BLOCK=blocks == 1,
        UPCAST=INTERPRETED and qkv.dtype == torch.bfloat16, num_warps=WARPS, num_stages=2,
    )  # fmt: skip
    return out, log_sum
