"""The Triton kernels as PyTorch operators, so that autograd, torch.compile and checkpointing see one opaque step.

Imports triton: to be imported on use only.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from ..partition import Partition
from ..sizes import ceil_div
from .triton_backward import backward
from .triton_forward import forward


@torch.library.custom_op("maxvit_dense::partition_attention", mutates_args=())
def _attention(qkv: Tensor, table: Tensor, window_size: Sequence[int], grid: bool, heads: int) -> tuple[Tensor, Tensor]:
    with torch.cuda.device_of(qkv):  # Triton launches on the current device
        return forward(qkv.contiguous(), table.contiguous(), tuple(window_size), grid, heads)


@_attention.register_fake
def _(qkv, table, window_size, grid, heads):
    batch, height, width, channels = qkv.shape
    out = qkv.new_empty(batch, height, width, channels // 3)
    return out, qkv.new_empty(batch, heads, height, width, dtype=torch.float32)


@torch.library.custom_op("maxvit_dense::partition_attention_backward", mutates_args=())
def _attention_backward(
    qkv: Tensor,
    table: Tensor,
    out: Tensor,
    log_sum: Tensor,
    dout: Tensor,
    window_size: Sequence[int],
    grid: bool,
    heads: int,
) -> tuple[Tensor, Tensor]:
    tensors = [x.contiguous() for x in (qkv, table, out, log_sum, dout)]
    with torch.cuda.device_of(qkv):
        return backward(*tensors, tuple(window_size), grid, heads)


@_attention_backward.register_fake
def _(qkv, table, out, log_sum, dout, window_size, grid, heads):
    return qkv.new_empty(qkv.shape), table.new_empty(table.shape)


def _setup_context(ctx, inputs, output) -> None:
    qkv, table, *ctx.how = inputs
    out, log_sum = output
    ctx.mark_non_differentiable(log_sum)
    ctx.save_for_backward(qkv, table, out, log_sum)


def _differentiate(ctx, dout, _):
    return *_attention_backward(*ctx.saved_tensors, dout, *ctx.how), None, None, None


_attention.register_autograd(_differentiate, setup_context=_setup_context)


def _pair_flops(qkv_shape, window_size: Sequence[int]) -> int:
    """Operations of one product of all queries with the keys of their windows, as the plain path's are counted."""
    batch, height, width, channels = qkv_shape
    windows = batch * ceil_div(height, window_size[0]) * ceil_div(width, window_size[1])
    return 2 * windows * (window_size[0] * window_size[1]) ** 2 * (channels // 3)


@register_flop_formula(torch.ops.maxvit_dense.partition_attention)
def _flops(qkv_shape, table_shape, window_size, *args, **kwargs) -> int:
    return 2 * _pair_flops(qkv_shape, window_size)


# A FlopCounterMode made before this module's import, so before the first call by the kernel, counts it as nothing.
# PyTorch passes the output's shape by the name out_shape, which no parameter may have.
@register_flop_formula(torch.ops.maxvit_dense.partition_attention_backward)
def _backward_flops(qkv_shape, table_shape, o_shape, sum_shape, dout_shape, window_size, *args, **kwargs) -> int:
    return 5 * _pair_flops(qkv_shape, window_size)


def partition_attention(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """As :func:`.plain.partition_attention`; the partition's index tensors are not read. Not differentiable twice."""
    return _attention(qkv, table.to(torch.float32), partition.window_size, partition.grid, num_heads)[0]
