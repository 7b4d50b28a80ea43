"""Partition attention in plain PyTorch: runs everywhere and defines the result."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..partition import Partition, flat_index
from ..rel_pos import expand_bias_table

SHORT_WINDOW = 64  # tokens


def _additive_mask(bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """Bias (h, N, N) plus minus infinity for keys outside the map: (1, h, N, N), or (B * nW, h, N, N) if masked."""
    bias = bias.unsqueeze(0)
    if mask is None:
        return bias
    # Expanded first, so that a symbolic number of windows is never compared with 1 for broadcasting.
    masked = bias.expand(mask.shape[0], -1, -1, -1).masked_fill(~mask, float("-inf"))
    if batch != 1:  # an empty batch too
        masked = masked.repeat(batch, 1, 1, 1)
    return masked


def _written_out(q: Tensor, short_window: int = SHORT_WINDOW) -> bool:
    """Whether the products are called one by one, rather than PyTorch's fused attention.

    Measured on a CPU: PyTorch's fused kernel has no gradient for the bias there, and what it falls back on takes 1.2
    to 2.5 times as long; without a gradient it wins where windows are long.
    """
    return q.is_cpu and (torch.is_grad_enabled() or q.shape[2] <= short_window)


def _attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(D) + mask) v for q, k, v of (B * nW, h, N, D)."""
    if not _written_out(q):
        return F.scaled_dot_product_attention(q, k, v, attn_mask=attn_mask)
    windows, heads, tokens, dim = q.shape
    scores = attn_mask.expand(windows, -1, -1, -1).reshape(windows * heads, tokens, tokens)
    scores = torch.baddbmm(scores, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=dim**-0.5)
    return torch.bmm(scores.softmax(dim=-1), v.flatten(0, 1)).view(windows, heads, tokens, dim)


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

    # One gather into windows and one back, each moving whole rows; index_select's gradient is as cheap.
    gather = flat_index(partition.tokens, batch, height * width)
    windows = qkv.reshape(-1, 3 * channels).index_select(0, gather)
    windows = windows.view(-1, window_tokens, 3, num_heads, channels // num_heads)
    q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)  # each (B * nW, h, N, D)

    bias = expand_bias_table(bias_table, partition.window_size).to(q.dtype)
    attn_mask = _additive_mask(bias, partition.mask, batch)
    out = _attend(q, k, v, attn_mask)
    out = out.transpose(1, 2).reshape(-1, channels)
    restore = flat_index(partition.slots, batch, partition.tokens.shape[0])
    return out.index_select(0, restore).view(batch, height, width, channels)
