"""Partition attention in plain PyTorch: runs everywhere and defines the result."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..partition import Partition
from ..rows import move_rows
from ..sizes import is_same

SHORT_WINDOW = 64  # tokens


def expand_bias_table(table: Tensor, window_size: tuple[int, int]) -> Tensor:
    """Bias of every pair of window slots, query before key: (h, 2 * Ph - 1, 2 * Pw - 1) to (h, N, N).

    Entry (key - query + window - 1) of each axis of the table belongs to that offset: the keys of the last query are
    its first Ph x Pw entries, and each query before it reads one further on.
    """
    ph, pw = window_size
    return table.unfold(1, ph, 1).unfold(2, pw, 1).flip(1, 2).reshape(-1, ph * pw, ph * pw)


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
        return torch.jit.is_tracing() or windows.shape[1] <= SHORT_WINDOW


def _weights(windows: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) over the keys inside the map, (windows * h, N, N), query before key."""
    count, _, _, heads, size = windows.shape
    q, k = windows[:, :, :2].permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)  # each (windows * h, N, D)
    # Windows and heads are one axis: a symbolic number of windows would be compared with 1 for broadcasting.
    scores = bias.repeat(count, 1, 1)
    if outside is not None:
        of_heads = outside.unsqueeze(1).expand(-1, heads, -1).flatten(0, 1)
        scores = scores.masked_fill_(of_heads.unsqueeze(1), float("-inf"))
    return torch.baddbmm(scores, q, k.transpose(1, 2), alpha=size**-0.5).softmax(dim=-1)


def _attend_by_products(windows: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    _, tokens, _, heads, size = windows.shape
    v = windows[:, :, 2].transpose(1, 2).flatten(0, 1)  # (windows * h, N, D)
    return torch.bmm(_weights(windows, bias, outside), v).view(-1, heads, tokens, size).transpose(1, 2)


def _attend_fused(windows: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)  # each (windows, h, N, D), views: the kernel takes strides
    bias = bias.unsqueeze(0)
    if outside is not None:
        bias = bias.masked_fill(outside[:, None, None], float("-inf"))
    return F.scaled_dot_product_attention(q, k, v, attn_mask=bias).transpose(1, 2)


def attend(windows: Tensor, bias: Tensor, outside: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the keys inside the map.

    Args:
        windows: (windows, N, 3, h, D) queries, keys and values.
        bias: (h, N, N), query before key.
        outside: (windows, N) bool, True for keys outside the map; None if none is.

    Returns:
        (windows, N, h, D), in any memory layout.
    """
    if _takes_products(windows):
        return _attend_by_products(windows, bias, outside)
    return _attend_fused(windows, bias, outside)


def _for_batch(partition: Partition, batch: int, map_tokens: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Tokens, slots and outside of B maps laid end to end: window 0 of each, then window 1 of each, ..."""
    tokens, slots, outside = partition.tokens, partition.slots, partition.outside
    if not is_same(batch, 1):
        window_tokens, image = tokens.shape[1], torch.arange(batch, device=tokens.device).unsqueeze(1)
        window = slots // window_tokens
        slots = slots + (window * (batch - 1) + image) * window_tokens
        tokens = tokens.unsqueeze(1) + image * map_tokens
        # Not repeat_interleave: PyTorch's ONNX export takes its length from the example.
        outside = None if outside is None else outside.unsqueeze(1).expand(-1, batch, -1).flatten(0, 1)
    return tokens.flatten(), slots.flatten(), outside


def attention_weights(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """What each token of a window takes from each other: (windows, h, N, N), query before key, rows of sum 1.

    Windows in the partition's order, that of its ``tokens``; each of all B images before the next. Arguments as of
    ``ops.partition_attention``.
    """
    tokens, _, outside = _for_batch(partition, qkv.shape[0], qkv.shape[1] * qkv.shape[2])
    size = qkv.shape[3] // (3 * num_heads)
    windows = qkv.flatten(0, 2)[tokens].view(-1, partition.tokens.shape[1], 3, num_heads, size)
    if outside is not None:
        whole = windows.shape[0] - outside.shape[0]
        outside = F.pad(outside, (0, 0, whole, 0))
    bias = expand_bias_table(table, partition.window_size).to(windows.dtype)
    return _weights(windows, bias, outside).unflatten(0, (-1, num_heads))


def partition_attention(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """Multi-head attention within each window of a map; arguments and result as of ``ops.partition_attention``."""
    batch, height, width, channels = qkv.shape[0], qkv.shape[1], qkv.shape[2], qkv.shape[3] // 3
    tokens, slots, outside = _for_batch(partition, batch, height * width)

    # One gather into windows and one back, each moving whole rows.
    windows = move_rows(qkv.reshape(-1, 3 * channels), tokens, slots)
    windows = windows.view(-1, partition.tokens.shape[1], 3, num_heads, channels // num_heads)
    bias = expand_bias_table(table, partition.window_size).to(windows.dtype)
    if outside is None:
        out, unread = attend(windows, bias, None).reshape(-1, channels), None
    else:
        whole = partition.whole * batch
        out, unread = attend(windows[whole:], bias, outside).reshape(-1, channels), outside.reshape(-1, 1)
        if whole > 0:  # windows inside the map need no mask, which would be as large as the scores
            out = torch.cat([attend(windows[:whole], bias, None).reshape(-1, channels), out])
            unread = F.pad(unread, (0, 0, out.shape[0] - unread.shape[0], 0))
    return move_rows(out, slots, tokens, unread).view(batch, height, width, channels)
