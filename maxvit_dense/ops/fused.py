"""Convolution or linear layer and its GELU in one oneDNN call: inference on a CPU.

A map that a layer has just written is far larger than the CPU's caches, and the next pass over it waits for memory.
PyTorch's oneDNN operators (those that ``torch.compile`` uses on a CPU) apply the activation while a tile is still in
registers. They have no gradient and no autocast rule, so they serve networks folded for inference only.
"""

import torch
import torch.utils._python_dispatch
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

_DTYPES = (torch.float32, torch.bfloat16)


def gelu_algorithm(act: nn.Module) -> str:
    """oneDNN's name of the activation's formula; "" if it is not a GELU, and then nothing is fused."""
    if isinstance(act, GELUTanh):
        return "tanh"
    if isinstance(act, (GELU, nn.GELU)):
        return getattr(act, "approximate", "none")
    return ""


@torch.jit.unused
def can_fuse(x: Tensor) -> bool:
    """Whether this forward call may use oneDNN's fused operators: plain CPU tensors, no gradient, nobody tracing.

    A tracer or compiler shall see PyTorch's own operators, which every backend and every FLOP counter knows.
    """
    if torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    if type(x) is not Tensor or not x.is_cpu or x.numel() == 0:
        return False
    if not torch.backends.mkldnn.is_available() or not torch.backends.mkldnn.enabled:
        return False
    if torch.utils._python_dispatch.is_in_torch_dispatch_mode():
        return False
    return _compute_dtype(x) in _DTYPES


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def linear_gelu(x: Tensor, linear: nn.Linear, algorithm: str) -> Tensor:
    """GELU of a linear layer's output, (..., in) -> (..., out)."""
    dtype = _compute_dtype(x)
    weight, bias = linear.weight.to(dtype), linear.bias.to(dtype)
    return torch.ops.mkldnn._linear_pointwise(x.to(dtype), weight, bias, "gelu", [], algorithm)


def conv_gelu(x: Tensor, conv: nn.Conv2d, algorithm: str) -> Tensor:
    """GELU of a convolution's output, (B, in, H, W) -> (B, out, H', W') in x's memory layout."""
    dtype = _compute_dtype(x)
    weight, bias = conv.weight.to(dtype), conv.bias.to(dtype)
    where = (conv.padding, conv.stride, conv.dilation, conv.groups)
    return torch.ops.mkldnn._convolution_pointwise(x.to(dtype), weight, bias, *where, "gelu", [], algorithm)


def add_to(branch: Tensor, x: Tensor) -> Tensor:
    """x + branch, written over the branch, which nobody else reads, where autocast has not given them two dtypes."""
    return branch.add_(x) if branch.dtype == x.dtype else x + branch
