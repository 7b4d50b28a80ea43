"""Backward kernels of partition attention: softmax weights are computed again from the scores and their saved sums.

Every gradient is written by one program in a fixed order, without atomics, so that it is the same in every run. The
table's gradient is summed over windows in registers first, then over the pairs of slots that share an entry; float32
atomics on a table would be no fewer writes to memory and would contend for 169 addresses.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..sizes import ceil_div
from .triton_tiles import BLOCK, PROGRAMS, SIZES, Launch, dot, load_bias, load_rows, locate, store_rows, tile_scores

# Table entries that a program of the last kernel fills.
ENTRIES = 16


@triton.jit
def _tile_gradient(q, k, v, dout, bias, query_inside, key_inside, log_sum, delta, scale, UPCAST: tl.constexpr):
    """Softmax weights of a tile and the gradient of its scores, (queries, keys) float32, zero outside the map."""
    scores = tile_scores(q, k, bias, key_inside, scale, UPCAST)
    pair = query_inside[:, None] & key_inside[None, :]
    weights = tl.where(pair, tl.exp2(scores - log_sum[:, None]), 0.0)
    dweights = dot(dout, tl.trans(v), UPCAST)
    return weights, tl.where(pair, weights * (dweights - delta[:, None]), 0.0)


@triton.jit
def _load_sums(base, positions, inside):
    """One figure of each query row: (queries,) float32."""
    return tl.load(base + positions, mask=inside, other=0.0)


@triton.jit
def _store_tile(base, queries, keys, tokens, values):
    """Writes a tile into a (N, N) matrix."""
    pair = (queries < tokens)[:, None] & (keys < tokens)[None, :]
    tl.store(base + queries[:, None] * tokens + keys[None, :], values, mask=pair)


@triton.jit(do_not_specialize=SIZES)
def short_kernel(
    qkv, table, log_sum, dout, dqkv, dbias, scale,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, GRID: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """All gradients of windows of one block. Program (head, group of windows)."""
    C: tl.constexpr = HEADS * D
    shape = (height, width, rows, cols, window_height, window_width)
    head = tl.program_id(0)
    slots = tl.arange(0, BLOCK)
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    bias = load_bias(table, slots, slots, window_height, window_width)
    dbias_sum = tl.zeros([BLOCK, BLOCK], tl.float32)

    first = tl.program_id(1) * windows_per_program
    for index in range(first, tl.minimum(first + windows_per_program, windows)):
        image_start = (index // (rows * cols)).to(tl.int64) * height * width
        positions, inside = locate(slots, index % (rows * cols), shape, GRID)
        q_base = qkv + image_start * 3 * C + head * D
        q = load_rows(q_base, positions, inside, 3 * C, D)
        k = load_rows(q_base + C, positions, inside, 3 * C, D)
        v = load_rows(q_base + 2 * C, positions, inside, 3 * C, D)
        do = load_rows(dout + image_start * C + head * D, positions, inside, C, D)
        sums = _load_sums(log_sum + image_start * HEADS + head * height * width, positions, inside)

        # As _tile_gradient, but the row's sum of weights * dweights is at hand: the output need not be read.
        pair = inside[:, None] & inside[None, :]
        scores = tile_scores(q, k, bias, inside, scale, UPCAST)
        weights = tl.where(pair, tl.exp2(scores - sums[:, None]), 0.0)
        dweights = dot(do, tl.trans(v), UPCAST)
        delta = tl.sum(tl.where(pair, weights * dweights, 0.0), 1)
        dscores = tl.where(pair, weights * (dweights - delta[:, None]), 0.0)
        dbias_sum += dscores

        dq_base = dqkv + image_start * 3 * C + head * D
        dscores = dscores.to(q.dtype)
        dv = dot(tl.trans(weights.to(q.dtype)), do, UPCAST)
        store_rows(dq_base + 2 * C, positions, inside, dv, 3 * C, D)
        store_rows(dq_base + C, positions, inside, dot(tl.trans(dscores), q, UPCAST) * scale, 3 * C, D)
        store_rows(dq_base, positions, inside, dot(dscores, k, UPCAST) * scale, 3 * C, D)

    tokens = window_height * window_width
    _store_tile(dbias + (tl.program_id(1) * HEADS + head) * tokens * tokens, slots, slots, tokens, dbias_sum)


@triton.jit
def _place(shape, HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr):
    """Where a program works that serves one block of slots of one window and head.

    Programs (window, block, head) lie on the one axis that CUDA does not limit to 65,535.

    Returns:
        head; window, counted within its image; slots (BLOCK,); and where the image's part of the head begins in a map
        of queries, keys and values, in one of outputs, and in one of sums.
    """
    height, width, rows, cols, window_height, window_width = shape
    head = tl.program_id(0) % HEADS
    blocks = tl.cdiv(window_height * window_width, BLOCK)
    slots = tl.program_id(0) // HEADS % blocks * BLOCK + tl.arange(0, BLOCK)
    index = tl.program_id(0) // (HEADS * blocks)
    image_start = (index // (rows * cols)).to(tl.int64) * height * width
    qkv_start = image_start * 3 * HEADS * D + head * D
    out_start = image_start * HEADS * D + head * D
    sums_start = image_start * HEADS + head * height * width
    return head, index % (rows * cols), slots, qkv_start, out_start, sums_start


@triton.jit(do_not_specialize=SIZES)
def query_kernel(
    qkv, table, log_sum, out, dout, delta, dqkv, scale,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, GRID: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Gradient of a block of queries, and delta = sum(out * dout), which the next kernels need.

    Program (window, query block, head).
    """
    C: tl.constexpr = HEADS * D
    shape = (height, width, rows, cols, window_height, window_width)
    head, window, queries, qkv_start, out_start, sums_start = _place(shape, HEADS, D, BLOCK)
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    q_base = qkv + qkv_start

    positions, inside = locate(queries, window, shape, GRID)
    q = load_rows(q_base, positions, inside, 3 * C, D)
    do = load_rows(dout + out_start, positions, inside, C, D)
    o = load_rows(out + out_start, positions, inside, C, D)
    sums = _load_sums(log_sum + sums_start, positions, inside)
    row_delta = tl.sum(o.to(tl.float32) * do.to(tl.float32), 1)
    tl.store(delta + sums_start + positions, row_delta, mask=inside)

    dq = tl.zeros([BLOCK, D], tl.float32)
    for start in range(0, window_height * window_width, BLOCK):
        keys = start + tl.arange(0, BLOCK)
        key_positions, key_inside = locate(keys, window, shape, GRID)
        k = load_rows(q_base + C, key_positions, key_inside, 3 * C, D)
        v = load_rows(q_base + 2 * C, key_positions, key_inside, 3 * C, D)
        bias = load_bias(table, queries, keys, window_height, window_width)
        _, dscores = _tile_gradient(q, k, v, do, bias, inside, key_inside, sums, row_delta, scale, UPCAST)
        dq += dot(dscores.to(k.dtype), k, UPCAST)
    store_rows(dqkv + qkv_start, positions, inside, dq * scale, 3 * C, D)


@triton.jit(do_not_specialize=SIZES)
def key_kernel(
    qkv, table, log_sum, dout, delta, dqkv, scale,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, GRID: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Gradients of a block of keys and values. Program (window, key block, head)."""
    C: tl.constexpr = HEADS * D
    shape = (height, width, rows, cols, window_height, window_width)
    head, window, keys, qkv_start, out_start, sums_start = _place(shape, HEADS, D, BLOCK)
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    q_base = qkv + qkv_start

    key_positions, key_inside = locate(keys, window, shape, GRID)
    k = load_rows(q_base + C, key_positions, key_inside, 3 * C, D)
    v = load_rows(q_base + 2 * C, key_positions, key_inside, 3 * C, D)
    dk = tl.zeros([BLOCK, D], tl.float32)
    dv = tl.zeros([BLOCK, D], tl.float32)
    for start in range(0, window_height * window_width, BLOCK):
        queries = start + tl.arange(0, BLOCK)
        positions, inside = locate(queries, window, shape, GRID)
        q = load_rows(q_base, positions, inside, 3 * C, D)
        do = load_rows(dout + out_start, positions, inside, C, D)
        sums = _load_sums(log_sum + sums_start, positions, inside)
        row_delta = _load_sums(delta + sums_start, positions, inside)
        bias = load_bias(table, queries, keys, window_height, window_width)
        weights, dscores = _tile_gradient(q, k, v, do, bias, inside, key_inside, sums, row_delta, scale, UPCAST)
        dv += dot(tl.trans(weights.to(do.dtype)), do, UPCAST)
        dk += dot(tl.trans(dscores.to(q.dtype)), q, UPCAST)
    dq_base = dqkv + qkv_start
    store_rows(dq_base + C, key_positions, key_inside, dk * scale, 3 * C, D)
    store_rows(dq_base + 2 * C, key_positions, key_inside, dv, 3 * C, D)


@triton.jit(do_not_specialize=[*SIZES, "first_head"])
def bias_kernel(
    qkv, table, log_sum, dout, delta, dbias, scale, first_head,
    windows, windows_per_program, height, width, rows, cols, window_height, window_width,
    HEADS: tl.constexpr, D: tl.constexpr, BLOCK: tl.constexpr, GRID: tl.constexpr, UPCAST: tl.constexpr,
):  # fmt: skip
    """Gradient of a tile of the bias, summed over windows. Program (tile, head from the first, group of windows)."""
    C: tl.constexpr = HEADS * D
    shape = (height, width, rows, cols, window_height, window_width)
    head = first_head + tl.program_id(1)
    slots = tl.arange(0, BLOCK)
    blocks = tl.cdiv(window_height * window_width, BLOCK)
    queries = tl.program_id(0) // blocks * BLOCK + slots
    keys = tl.program_id(0) % blocks * BLOCK + slots
    table += head * (2 * window_height - 1) * (2 * window_width - 1)
    bias = load_bias(table, queries, keys, window_height, window_width)
    dbias_sum = tl.zeros([BLOCK, BLOCK], tl.float32)
    first = tl.program_id(2) * windows_per_program
    for index in range(first, tl.minimum(first + windows_per_program, windows)):
        image_start = (index // (rows * cols)).to(tl.int64) * height * width
        positions, inside = locate(queries, index % (rows * cols), shape, GRID)
        key_positions, key_inside = locate(keys, index % (rows * cols), shape, GRID)
        q_base = qkv + image_start * 3 * C + head * D
        sums_start = image_start * HEADS + head * height * width
        q = load_rows(q_base, positions, inside, 3 * C, D)
        k = load_rows(q_base + C, key_positions, key_inside, 3 * C, D)
        v = load_rows(q_base + 2 * C, key_positions, key_inside, 3 * C, D)
        do = load_rows(dout + image_start * C + head * D, positions, inside, C, D)
        sums = _load_sums(log_sum + sums_start, positions, inside)
        row_delta = _load_sums(delta + sums_start, positions, inside)
        _, dscores = _tile_gradient(q, k, v, do, bias, inside, key_inside, sums, row_delta, scale, UPCAST)
        dbias_sum += dscores
    tokens = window_height * window_width
    matrix = tl.program_id(2) * tl.num_programs(1) + tl.program_id(1)
    _store_tile(dbias + matrix * tokens * tokens, queries, keys, tokens, dbias_sum)


@triton.jit(do_not_specialize=["entries", "window_height", "window_width"])
def table_kernel(dbias, dtable, entries, window_height, window_width, ENTRIES: tl.constexpr, BLOCK: tl.constexpr):
    """Sums the pairs of slots that share a table entry. Program (block of entries, head)."""
    entry = tl.program_id(0) * ENTRIES + tl.arange(0, ENTRIES)
    row_offset = entry // (2 * window_width - 1) - (window_height - 1)
    col_offset = entry % (2 * window_width - 1) - (window_width - 1)
    tokens = window_height * window_width
    dbias += tl.program_id(1) * tokens * tokens
    total = tl.zeros([ENTRIES, BLOCK], tl.float32)
    for start in range(0, tokens, BLOCK):
        query = start + tl.arange(0, BLOCK)[None, :]
        row = query // window_width + row_offset[:, None]
        col = query % window_width + col_offset[:, None]
        paired = (query < tokens) & (row >= 0) & (row < window_height) & (col >= 0) & (col < window_width)
        total += tl.load(dbias + query * tokens + row * window_width + col, mask=paired, other=0.0)
    tl.store(dtable + tl.program_id(1) * entries + entry, tl.sum(total, 1), mask=entry < entries)


def _table_gradient(dbias: Tensor, dtable: Tensor, window_size: tuple[int, int]) -> None:
    """Fills dtable (h, 2 * Ph - 1, 2 * Pw - 1) from dbias (groups of windows, h, N, N), both float32."""
    heads, entries = dtable.shape[0], dtable.shape[1] * dtable.shape[2]
    table_kernel[(ceil_div(entries, ENTRIES), heads)](
        dbias.sum(0), dtable, entries, *window_size, ENTRIES=ENTRIES, BLOCK=BLOCK
    )


def _backward_short(qkv, table, log_sum, dout, dqkv, dtable, launch: Launch) -> None:
    """Fills dqkv and dtable for windows of one block."""
    heads = table.shape[0]
    per_program = launch.windows_per_program(heads)
    groups = launch.groups(per_program)
    dbias = qkv.new_empty(groups, heads, launch.tokens, launch.tokens, dtype=torch.float32)
    short_kernel[(heads, groups)](
        qkv, table, log_sum, dout, dqkv, dbias, launch.scale, launch.windows, per_program, *launch.shape,
        **launch.constants,
    )  # fmt: skip
    _table_gradient(dbias, dtable, launch.window_size)


def _backward_long(qkv, table, out, log_sum, dout, dqkv, dtable, launch: Launch) -> None:
    """Fills dqkv and dtable for windows of several blocks."""
    heads, tiles = table.shape[0], launch.blocks**2
    delta = torch.empty_like(log_sum)
    programs = (heads * launch.blocks * launch.windows,)
    sizes = (launch.scale, launch.windows, 1, *launch.shape)
    query_kernel[programs](qkv, table, log_sum, out, dout, delta, dqkv, *sizes, **launch.constants)
    key_kernel[programs](qkv, table, log_sum, dout, delta, dqkv, *sizes, **launch.constants)

    # Heads take turns, so that the sums over windows need about PROGRAMS tiles: 16 MiB, whatever the map and batch.
    turn = min(heads, max(1, PROGRAMS // tiles))
    per_program = launch.windows_per_program(turn * tiles)
    groups = launch.groups(per_program)
    for first in range(0, heads, turn):
        part = dtable[first : first + turn]
        dbias = qkv.new_empty(groups, part.shape[0], launch.tokens, launch.tokens, dtype=torch.float32)
        bias_kernel[(tiles, part.shape[0], groups)](
            qkv, table, log_sum, dout, delta, dbias, launch.scale, first,
            launch.windows, per_program, *launch.shape, **launch.constants,
        )  # fmt: skip
        _table_gradient(dbias, part, launch.window_size)


def backward(
    qkv: Tensor,
    table: Tensor,
    out: Tensor,
    log_sum: Tensor,
    dout: Tensor,
    window_size: tuple[int, int],
    grid: bool,
    heads: int,
) -> tuple[Tensor, Tensor]:
    """Gradients of qkv, like it, and of the table, in float32.

    Arguments as :func:`.triton_forward.forward` took and gave them; dout (B, H, W, C) is contiguous.
    """
    dqkv = torch.empty_like(qkv)
    dtable = torch.zeros_like(table, dtype=torch.float32)
    launch = Launch(qkv, window_size, grid, heads)
    if launch.blocks == 1 and launch.windows:
        _backward_short(qkv, table, log_sum, dout, dqkv, dtable, launch)
    elif launch.windows:
        _backward_long(qkv, table, out, log_sum, dout, dqkv, dtable, launch)
    return dqkv, dtable
