"""Partition attention in plain PyTorch: runs everywhere and defines the result."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..partition import Partition, for_batch
from ..rows import move_rows
from ..sizes import is_exporting
from .aligned_bias import expand_for_kernel

_SHORT_WINDOW = 64  # tokens


def expand_bias_table(table: Tensor, window_size: tuple[int, int]) -> Tensor:
    """Bias of every pair of window slots, query before key: (h, 2 * Ph - 1, 2 * Pw - 1) to (h, N, N).

    Entry (key - query + window - 1) of each axis of the table belongs to that offset: the keys of the last query are
    its first Ph x Pw entries, and each query before it reads one further on.
    """
    ph, pw = window_size
    return table.unfold(1, ph, 1).unfold(2, pw, 1).flip(1, 2).reshape(-1, ph * pw, ph * pw)


def _expand_bias(table: Tensor, window_size: tuple[int, int], like: Tensor) -> Tensor:
    """(h, N, N) in the number format of ``like``."""
    if torch.jit.is_scripting():
        return expand_bias_table(table, window_size).to(like.dtype)
    else:  # spelled out: TorchScript must not compile these lines
        recorded = torch.jit.is_tracing() or torch.compiler.is_compiling() or is_exporting()
        if like.is_cpu or recorded:
            return expand_bias_table(table, window_size).to(like.dtype)
        return expand_for_kernel(table, window_size, like.dtype)


def _takes_products(windows: Tensor) -> bool:
    """Whether the products are called one by one, rather than PyTorch's fused attention.

    On a CPU the fused kernel has no gradient for the bias, and what it falls back on takes 1.2 to 2.5 times as long;
    for short windows it gains nothing. What traces record shall not hang on the sizes that they see.
    """
    if not windows.is_cpu or torch.is_grad_enabled():
        return windows.is_cpu
    if torch.jit.is_scripting():
        return windows.shape[1] <= 64
    else:  # spelled out: TorchScript must not compile this line
        return torch.jit.is_tracing() or windows.shape[1] <= _SHORT_WINDOW


def _by_head(x: Tensor) -> Tensor:
    """(windows, N, h, D) to (windows * h, N, D)."""
    return x.transpose(1, 2).flatten(0, 1)


def _weights(q: Tensor, k: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) over the keys inside the map, (windows * h, N, N), query before key."""
    count, _, heads, size = q.shape
    # Windows and heads are one axis: a symbolic number of windows would be compared with 1 for broadcasting.
    scores = bias.repeat(count, 1, 1)
    if outside is not None:
        of_heads = outside.unsqueeze(1).expand(-1, heads, -1).flatten(0, 1)
        scores = scores.masked_fill_(of_heads.unsqueeze(1), float("-inf"))
    return torch.baddbmm(scores, _by_head(q), _by_head(k).transpose(1, 2), alpha=size**-0.5).softmax(dim=-1)


def attend_by_products(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    _, tokens, heads, size = q.shape
    return torch.bmm(_weights(q, k, bias, outside), _by_head(v)).view(-1, heads, tokens, size).transpose(1, 2)


def attend_fused(q: Tensor, k: Tensor, v: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    if outside is None:
        mask = bias.unsqueeze(0)
    else:
        mask = _room_for_masks(bias, outside.shape[0]).copy_(bias)
        mask = mask.masked_fill_(outside[:, None, None], float("-inf"))
    # (windows, h, N, D), views: the kernel takes strides
    return F.scaled_dot_product_attention(
        q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
    ).transpose(1, 2)


def _room_for_masks(bias: Tensor, windows: int) -> Tensor:
    """(windows, h, N, N) of any values, rows as far apart as those of a bias (h, N, N)."""
    heads, queries, keys = bias.shape
    return bias.new_empty((windows, heads, queries, bias.stride(1)))[..., :keys]


def _attend(windows: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the keys inside the map.

    Args:
        windows: (windows, N, 3, h, D) queries, keys and values.
        bias: (h, N, N), query before key.
        outside: (windows, N) bool, True for keys outside the map; None if none is.

    Returns:
        (windows, N, h, D), in any memory layout.
    """
    # Unbound before they are transposed: so their gradients are put together in one pass.
    q, k, v = windows.unbind(2)
    if _takes_products(windows):
        return attend_by_products(q, k, v, bias, outside)
    return attend_fused(q, k, v, bias, outside)


def attention_weights(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """What each token of a window takes from each other: (windows, h, N, N), query before key, rows of sum 1.

    Windows in the partition's order, that of its ``tokens``; each of all B images before the next. Arguments as of
    ``ops.partition_attention``.
    """
    partition = for_batch(partition, qkv.shape[0], qkv.shape[1] * qkv.shape[2])
    outside = partition.outside
    size = qkv.shape[3] // (3 * num_heads)
    windows = qkv.flatten(0, 2)[partition.tokens].view(-1, partition.tokens.shape[1], 3, num_heads, size)
    if outside is not None:
        outside = F.pad(outside, (0, 0, partition.whole, 0))
    bias = expand_bias_table(table, partition.window_size).to(windows.dtype)
    q, k, _ = windows.unbind(2)
    return _weights(q, k, bias, outside).unflatten(0, (-1, num_heads))


def partition_attention(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """Multi-head attention within each window of a map; arguments and result as of ``ops.partition_attention``."""
    batch, height, width, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2], qkv.shape[3] // 3
    partition = for_batch(partition, batch, height * width)
    tokens, slots, outside = partition.tokens.flatten(), partition.slots, partition.outside

    # One gather into windows and one back, each moving whole rows.
    windows = move_rows(qkv.reshape(-1, 3 * channels), tokens, slots)
    windows = windows.view(-1, partition.tokens.shape[1], 3, num_heads, channels // num_heads)
    bias = _expand_bias(table, partition.window_size, windows)
    unread: Tensor | None = None
    if outside is None:
        out = _attend(windows, bias, None).reshape(-1, channels)
    elif partition.whole == 0:
        out = _attend(windows, bias, outside).reshape(-1, channels)
    else:  # windows inside the map need no mask, which would be as large as the scores
        inside, edge = windows.split([partition.whole, outside.shape[0]])
        parts = [_attend(inside, bias, None), _attend(edge, bias, outside)]
        out = torch.cat([part.reshape(-1, channels) for part in parts])
    if outside is not None:
        unread = outside.reshape(-1, 1)
    return move_rows(out, slots, tokens, unread).view(batch, height, width, channels)
