"""Attention within windows as single products, which every exporter, tracer and FLOP counter knows.

Windows are (B * nW, N, 3, h, D) queries, keys and values, a bias is (h, N, N), a mask (nW, 1, 1, N) bool, True for
keys inside the map, or None if all are; results are (B * nW, N, h, D) in any memory layout.
"""

import torch
from torch import Tensor


def outside_keys(mask: Tensor, batch: int) -> Tensor:
    """Which keys no query may see, (B * nW, N) bool."""
    return (~mask).view(-1, mask.shape[3]).repeat(batch, 1)


def attend_by_products(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the keys inside the map; differentiable any number of times."""
    count, tokens, _, heads, size = windows.shape
    q, k, v = windows.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)  # each (B * nW * h, N, D)
    # Windows and heads are one axis: a symbolic number of windows would be compared with 1 for broadcasting.
    scores = bias.repeat(count, 1, 1)
    if mask is not None:
        outside = outside_keys(mask, batch).repeat(1, heads).view(-1, 1, tokens)
        scores = scores.masked_fill_(outside, float("-inf"))
    scores = torch.baddbmm(scores, q, k.transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(scores.softmax(dim=-1), v).view(-1, heads, tokens, size).transpose(1, 2)
