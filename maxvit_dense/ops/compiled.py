"""Plain attention as one operator of compiled programs: for sizes left free, PyTorch's compiler simplified the index
arithmetic of its gathers and masks for minutes."""

import torch
from torch import Tensor

from ..partition import Partition
from ..partition_cache import kept_partition
from . import plain

_ARGUMENTS = "Tensor qkv, Tensor table, SymInt[] window_size, bool grid, int heads"


def _attend(qkv, table, window_size, grid, heads):
    batch, height, width, _ = qkv.shape
    partition = kept_partition(height, width, tuple(window_size), grid, qkv.device, batch)
    return plain.partition_attention(qkv, table, partition, heads)


_attention = torch.library.custom_op(
    "maxvit_dense::plain_attention", _attend, mutates_args=(), schema=f"({_ARGUMENTS}) -> Tensor"
)


@_attention.register_fake
def _(qkv, table, window_size, grid, heads):
    batch, height, width, channels = qkv.shape
    return qkv.new_empty(batch, height, width, channels // 3)


@torch.library.custom_op(
    "maxvit_dense::plain_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad, {_ARGUMENTS}) -> (Tensor, Tensor)",
)
def _attention_backward(grad, qkv, table, window_size, grid, heads):
    """Attends again, which costs two products and keeps no weights of the windows between the passes."""
    key = torch._C.DispatchKey.AutogradFunctionality  # excluded within operators
    with torch._C._SetExcludeDispatchKeyGuard(key, False), torch.enable_grad():
        inputs = [x.detach().requires_grad_() for x in (qkv, table)]
        out = _attend(*inputs, window_size, grid, heads)
        return torch.autograd.grad(out, inputs, grad)


@_attention_backward.register_fake
def _(grad, qkv, table, window_size, grid, heads):
    return qkv.new_empty(qkv.shape), table.new_empty(table.shape)


def _setup_context(ctx, inputs, output) -> None:
    qkv, table, *ctx.how = inputs
    ctx.save_for_backward(qkv, table)


def _differentiate(ctx, grad):
    return *_attention_backward(grad, *ctx.saved_tensors, *ctx.how), None, None, None


_attention.register_autograd(_differentiate, setup_context=_setup_context)


def partition_attention(qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """As :func:`.plain.partition_attention`, of a partition of one map, whose index tensors are not read."""
    return _attention(qkv, table, partition.window_size, partition.grid, num_heads)
