"""Layer and what follows it in one call: inference on a CPU.

A map that a layer has just written is far larger than the CPU's caches, and the next pass over it waits for memory.
PyTorch's oneDNN operators (those that ``torch.compile`` uses on a CPU) apply the activation while a tile is still in
registers. They have no gradient and no autocast rule, so they serve networks folded for inference only, where
`cpu_inference.is_cpu_inference` allows it.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

from .cpu_inference import compute_dtype, whole_step


def gelu_algorithm(act: nn.Module) -> str:
    """oneDNN's name of the activation's formula; "" if it is not a GELU, and then nothing is fused."""
    if isinstance(act, GELUTanh):
        return "tanh"
    if isinstance(act, (GELU, nn.GELU)):
        return getattr(act, "approximate", "none")
    return ""


def _fake_linear(x, weight, *_) -> Tensor:
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


def _fake_conv(x, weight, bias, edges, padding, stride, dilation, groups, algorithm) -> Tensor:
    out = torch.conv2d(F.pad(x, edges), weight, bias, stride, padding, dilation, groups)
    return torch.empty_like(out, memory_format=torch.channels_last)


def _fake_expansion(x, weight, bias, edges, algorithm) -> Tensor:
    return _fake_conv(x, weight, bias, edges, [0, 0], [1, 1], [1, 1], 1, algorithm)


@whole_step(_fake_linear)
def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor, algorithm: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], algorithm)


@whole_step(_fake_linear)
def _linear_add(x: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    return F.linear(x, weight, bias).add_(residual)


def _pad(x: Tensor, edges: Sequence[int]) -> Tensor:
    return F.pad(x, edges).contiguous(memory_format=torch.channels_last) if any(edges) else x


@whole_step(_fake_conv)
def _conv_gelu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    edges: Sequence[int],
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    algorithm: str,
) -> Tensor:
    where = (padding, stride, dilation, groups)
    return torch.ops.mkldnn._convolution_pointwise(_pad(x, edges), weight, bias, *where, "gelu", [], algorithm)


def _clear_edges(x: Tensor, edges: Sequence[int]) -> None:
    """Sets the padded edges of a map to zero, in place."""
    left, right, top, bottom = edges
    height, width = x.shape[2], x.shape[3]
    for edge in (x[:, :, :top], x[:, :, height - bottom :], x[..., :left], x[..., width - right :]):
        edge.zero_()


@whole_step(_fake_expansion)
def _expand_padded(x: Tensor, weight: Tensor, bias: Tensor, edges: Sequence[int], algorithm: str) -> Tensor:
    # Padding is cheaper before the expansion. There the bias would fill it, so it is cleared once more.
    x = _conv_gelu(x, weight, bias, edges, [0, 0], [1, 1], [1, 1], 1, algorithm)
    _clear_edges(x, edges)
    return x


def linear_gelu(x: Tensor, linear: nn.Linear, algorithm: str) -> Tensor:
    """GELU of a linear layer's output, (..., in) -> (..., out)."""
    dtype = compute_dtype(x)
    return _linear_gelu(x.to(dtype), linear.weight.to(dtype), linear.bias.to(dtype), algorithm)


def linear_add(x: Tensor, linear: nn.Linear, residual: Tensor) -> Tensor:
    """A linear layer's output plus a map of its shape, (..., in) -> (..., out)."""
    dtype = compute_dtype(x)
    x, weight, bias = x.to(dtype), linear.weight.to(dtype), linear.bias.to(dtype)
    if residual.dtype == dtype:
        return _linear_add(x, weight, bias, residual)
    return residual + F.linear(x, weight, bias)


def conv_gelu(x: Tensor, conv: nn.Conv2d, algorithm: str, edges: Sequence[int] = (0, 0, 0, 0)) -> Tensor:
    """GELU of a convolution's output.

    Args:
        x: (B, in, H, W) in channels-last memory, as the result is; where it is padded, in any.
        edges: zeros to the left, right, top and bottom of the map, beyond the convolution's own padding.
    """
    dtype = compute_dtype(x)
    weight, bias = conv.weight.to(dtype), conv.bias.to(dtype)
    return _conv_gelu(
        x.to(dtype), weight, bias, edges, conv.padding, conv.stride, conv.dilation, conv.groups, algorithm
    )


def expand_padded(x: Tensor, conv: nn.Conv2d, algorithm: str, edges: Sequence[int]) -> Tensor:
    """GELU of a 1x1 convolution's output, and zeros to its left, right, top and bottom."""
    dtype = compute_dtype(x)
    return _expand_padded(x.to(dtype), conv.weight.to(dtype), conv.bias.to(dtype), edges, algorithm)


def add_to(branch: Tensor, x: Tensor) -> Tensor:
    """x + branch, written over the branch, which nobody else reads, where autocast has not given them two dtypes."""
    return branch.add_(x) if branch.dtype == x.dtype else x + branch
