"""Attention within windows: as single products, or by PyTorch's fused kernel.

Windows are (B * nW, N, 3, h, D) queries, keys and values, a bias is (h, N, N), a mask (nW, 1, 1, N) bool, True for
keys inside the map, or None if all are; results are (B * nW, N, h, D) in any memory layout.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def attend_by_products(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """softmax(q k^T / sqrt(D) + bias) v over the keys inside the map, in steps that every exporter knows."""
    count, tokens, _, heads, size = windows.shape
    q, k, v = windows.permute(2, 0, 3, 1, 4).flatten(1, 2).unbind(0)  # each (B * nW * h, N, D)
    # Windows and heads are one axis: a symbolic number of windows would be compared with 1 for broadcasting.
    scores = bias.repeat(count, 1, 1)
    if mask is not None:
        outside = (~mask).view(-1, tokens).repeat(batch, heads).view(-1, 1, tokens)
        scores = scores.masked_fill_(outside, float("-inf"))
    scores = torch.baddbmm(scores, q, k.transpose(1, 2), alpha=size**-0.5)
    return torch.bmm(scores.softmax(dim=-1), v).view(-1, heads, tokens, size).transpose(1, 2)


def _additive_mask(bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """Bias (h, N, N) plus minus infinity for keys outside the map: (1, h, N, N), or (B * nW, h, N, N) if masked."""
    bias = bias.unsqueeze(0)
    if mask is None:
        return bias
    return bias.masked_fill(~mask, float("-inf")).repeat(batch, 1, 1, 1)


def attend_fused(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """The same function by ``scaled_dot_product_attention``, whose kernels store no scores."""
    q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)  # each (B * nW, h, N, D), views: the kernel takes strides
    return F.scaled_dot_product_attention(q, k, v, attn_mask=_additive_mask(bias, mask, batch)).transpose(1, 2)
