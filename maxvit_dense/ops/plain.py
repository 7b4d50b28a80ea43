"""Partition attention in plain PyTorch: runs everywhere and defines the result."""

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from ..partition import Partition, flat_index, make_partition, rearrange
from ..rel_pos import expand_bias_table
from .attend import attend_by_products, attend_fused
from .cpu_inference import is_cpu_inference, whole_step
from .cpu_parts import attend_in_parts, can_attend_in_parts

SHORT_WINDOW = 64  # tokens


def _takes_products(q: Tensor, tokens: int, short_window: int = SHORT_WINDOW) -> bool:
    """Whether the products are called one by one, rather than PyTorch's fused attention.

    Measured on a CPU: the fused kernel has no gradient for the bias there, and what it falls back on takes 1.2 to 2.5
    times as long; in bfloat16 it takes 1.4 times as long for short windows. Whoever records the call sees the products,
    which every exporter and every FLOP counter knows.
    """
    if not q.is_cpu or torch.is_grad_enabled():
        return q.is_cpu
    if torch.jit.is_scripting():
        return tokens <= short_window
    else:  # spelled out: TorchScript must not compile these lines, nor a trace record a question about sizes
        if torch.jit.is_tracing():
            return True
        return tokens <= short_window and (q.dtype != torch.float32 or not is_cpu_inference(q))


def _attend(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the keys inside the map.

    Args:
        windows: (B * nW, N, 3, h, D) queries, keys and values.
        bias: (h, N, N).
        mask: (nW, 1, 1, N) bool, True for keys inside the map; None if all are.
        batch: B.

    Returns:
        (B * nW, N, h, D), in any memory layout.
    """
    if not torch.jit.is_scripting() and can_attend_in_parts(windows):
        return attend_in_parts(windows, bias, mask, batch)
    if _takes_products(windows, windows.shape[1]):
        return attend_by_products(windows, bias, mask, batch)
    return attend_fused(windows, bias, mask, batch)


def partition_attention(qkv: Tensor, bias_table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """Multi-head attention within each window of a map.

    Args:
        qkv: (B, H, W, 3 * C) queries, keys and values of the unpartitioned map, in this order, heads-major.
        bias_table: (h, rows, cols) relative position bias table as trained, any floating dtype.
        partition: block or grid partition of an (H, W) map.
        num_heads: h; C / h is the head size D and scores are scaled by D ** -0.5.

    Returns:
        (B, H, W, C) contiguous. Slots outside the map are neither attended to nor returned.
    """
    batch, height, width, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2], qkv.shape[3] // 3
    window_tokens = partition.window_size[0] * partition.window_size[1]

    # One gather into windows and one back, each moving whole rows.
    tokens = flat_index(partition.tokens, batch, height * width)
    slots = flat_index(partition.slots, batch, partition.tokens.shape[0])
    windows = rearrange(qkv.reshape(-1, 3 * channels), tokens, slots)
    windows = windows.view(-1, window_tokens, 3, num_heads, channels // num_heads)

    bias = expand_bias_table(bias_table, partition.window_size).to(windows.dtype)
    out = _attend(windows, bias, partition.mask, batch).reshape(-1, channels)
    mask = partition.mask
    outside = None if mask is None else (~mask).view(-1, 1).repeat(batch, 1)
    return rearrange(out, slots, tokens, outside).view(batch, height, width, channels)


_known_partition = lru_cache(maxsize=16)(make_partition)  # the four stages of two image sizes


def _fake_attention(qkv, bias_table, window_size, grid, num_heads) -> Tensor:
    return qkv.new_empty(*qkv.shape[:3], qkv.shape[3] // 3)


@whole_step(_fake_attention)
def window_attention(qkv: Tensor, bias_table: Tensor, window_size: Sequence[int], grid: bool, num_heads: int) -> Tensor:
    """As :func:`partition_attention`, for a partition named by its window and kind."""
    ph, pw = window_size
    partition = _known_partition(qkv.shape[1], qkv.shape[2], (ph, pw), grid, qkv.device)
    return partition_attention(qkv, bias_table, partition, num_heads)
