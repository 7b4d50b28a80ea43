"""Convolution or linear layer and its GELU in one oneDNN call: inference on a CPU.

A map that a layer has just written is far larger than the CPU's caches, and the next pass over it waits for memory.
PyTorch's oneDNN operators (those that ``torch.compile`` uses on a CPU) apply the activation while a tile is still in
registers. They have no gradient and no autocast rule, so they serve networks folded for inference only. While such a
network is compiled they are operators of this package: PyTorch's compiler takes its own for constant weights alone.
"""

import torch
import torch.utils._python_dispatch
from timm.layers.activations import GELU, GELUTanh
from torch import Tensor, nn

_DTYPES = (torch.float32, torch.bfloat16)
_HAS_ONEDNN = torch.backends.mkldnn.is_available()


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

    A tracer or exporter shall see PyTorch's own operators, which every backend and every FLOP counter knows.
    """
    if not _HAS_ONEDNN or not x.is_cpu or torch.is_grad_enabled() or _compute_dtype(x) not in _DTYPES:
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    if torch.jit.is_tracing() or torch.utils._python_dispatch.is_in_torch_dispatch_mode():
        return False
    return type(x) is Tensor and x.numel() > 0 and bool(torch.backends.mkldnn.enabled)


def _compute_dtype(x: Tensor) -> torch.dtype:
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


def _linear_gelu(x: Tensor, weight: Tensor, bias: Tensor, algorithm: str) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "gelu", [], algorithm)


def _conv_gelu(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    padding: list[int],
    stride: list[int],
    dilation: list[int],
    groups: int,
    algorithm: str,
) -> Tensor:
    where = (padding, stride, dilation, groups)
    return torch.ops.mkldnn._convolution_pointwise(x, weight, bias, *where, "gelu", [], algorithm)


_compiled_linear_gelu = torch.library.custom_op("maxvit_dense::linear_gelu", _linear_gelu, mutates_args=())
_compiled_conv_gelu = torch.library.custom_op("maxvit_dense::conv_gelu", _conv_gelu, mutates_args=())


@_compiled_linear_gelu.register_fake
def _(x, weight, bias, algorithm):
    return x.new_empty((*x.shape[:-1], weight.shape[0]))


@_compiled_conv_gelu.register_fake
def _(x, weight, bias, padding, stride, dilation, groups, algorithm):
    out = torch.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return torch.empty_like(out, memory_format=torch.channels_last)


def linear_gelu(x: Tensor, linear: nn.Linear, algorithm: str) -> Tensor:
    """GELU of a linear layer's output, (..., in) -> (..., out)."""
    dtype = _compute_dtype(x)
    run = _compiled_linear_gelu if torch.compiler.is_compiling() else _linear_gelu
    return run(x.to(dtype), linear.weight.to(dtype), linear.bias.to(dtype), algorithm)


def conv_gelu(x: Tensor, conv: nn.Conv2d, algorithm: str) -> Tensor:
    """GELU of a convolution's output, (B, in, H, W) -> (B, out, H', W') in x's memory layout, channels-last."""
    dtype = _compute_dtype(x)
    run = _compiled_conv_gelu if torch.compiler.is_compiling() else _conv_gelu
    weight, bias = conv.weight.to(dtype), conv.bias.to(dtype)
    return run(x.to(dtype), weight, bias, conv.padding, conv.stride, conv.dilation, conv.groups, algorithm)


def add_to(branch: Tensor, x: Tensor) -> Tensor:
    """x + branch, written over the branch, which nobody else reads, where autocast has not given them two dtypes."""
    return branch.add_(x) if branch.dtype == x.dtype else x + branch
