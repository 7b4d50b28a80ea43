"""Attention on a CPU a part of the windows at a time: neither the scores of all windows nor their masks are stored.

By products, scores are stored for the backward pass: 0.6 GB a layer for 832x1344 pixels and windows of 26x42. PyTorch's
fused kernel stores none, but has no gradient for the bias on a CPU. So the forward pass is that kernel, and the
backward pass computes the products of a few windows again and, while they are in the cache, their gradients.
"""

import torch
from torch import Tensor
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .attend import attend_by_products, attend_fused
from .cpu_inference import compute_dtype

PART_BYTES = 2 << 20  # scores at a time: what a core's cache holds
LEAST_BYTES = 24 << 20  # a layer's scores; glibc keeps less than 32 MB for reuse, and whole products are faster in it

_DTYPES = (torch.float32, torch.float64, torch.bfloat16)


def _is_observed() -> bool:
    """Whether somebody watches the operators: compilers, tracers, ``torch.func``, FLOP counters, who know products.

    The modes of gradient checkpointing do not count. Others must be on or off for both passes of a step.
    """
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return True
    return any(type(mode).__module__ != "torch.utils.checkpoint" for mode in _get_current_dispatch_mode_stack())


@torch.jit.unused
def can_attend_in_parts(windows: Tensor) -> bool:
    """Whether :func:`attend_in_parts` may serve windows (B * nW, N, 3, h, D), and gains time."""
    if type(windows) is not Tensor or not windows.is_cpu or windows.dtype not in _DTYPES or _is_observed():
        return False
    count, tokens, _, heads, _ = windows.shape
    large = count * heads * tokens**2 * windows.itemsize > LEAST_BYTES
    return large and compute_dtype(windows) == windows.dtype


def _windows_at_once(windows: Tensor, heads: int) -> int:
    """How many windows' scores of so many heads are a part."""
    return max(1, PART_BYTES // (heads * windows.shape[1] ** 2 * windows.itemsize))


def _masks(mask: Tensor | None, batch: int, step: int, parts: int) -> tuple[Tensor | None, ...]:
    """The mask of each part of so many windows."""
    return (None,) * parts if mask is None else mask.repeat(batch, 1, 1, 1).split(step)


def _part_gradients(windows: Tensor, bias: Tensor, mask: Tensor | None, grad: Tensor) -> tuple[Tensor, ...]:
    """Gradients of a part's windows and bias, themselves differentiable if these are."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        inputs = [x if again and x.requires_grad else x.detach().requires_grad_() for x in (windows, bias)]
        return torch.autograd.grad(attend_by_products(*inputs, mask, batch=1), inputs, grad, create_graph=again)


def _head_gradients(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int, grad: Tensor) -> tuple:
    """Gradients of one head's windows (B * nW, N, 3, 1, D) and bias (1, N, N)."""
    step = _windows_at_once(windows, heads=1)
    parts = windows.split(step)
    of_windows, of_bias = [], torch.zeros_like(bias, dtype=torch.promote_types(bias.dtype, torch.float32))
    for part, hidden, part_grad in zip(parts, _masks(mask, batch, step, len(parts)), grad.split(step), strict=True):
        of_part, of_its_bias = _part_gradients(part, bias, hidden, part_grad)
        of_windows.append(of_part)
        of_bias = of_bias + of_its_bias
    return torch.cat(of_windows), of_bias


class _AttendInParts(torch.autograd.Function):
    @staticmethod
    def forward(ctx, windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
        ctx.batch = batch
        ctx.save_for_backward(windows, bias, mask)
        bias = bias.detach()  # the kernel is not chosen for a mask that requires gradients
        if mask is None:
            return attend_fused(windows, bias, None, batch)
        step = _windows_at_once(windows, bias.shape[0])
        parts = windows.split(step)
        masks = _masks(mask, batch, step, len(parts))
        return torch.cat([attend_fused(*part, 1) for part in zip(parts, [bias] * len(parts), masks, strict=True)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        windows, bias, mask = ctx.saved_tensors
        heads = [tensor.split(1, dim) for tensor, dim in ((windows, 3), (bias, 0), (grad, 2))]
        found = [_head_gradients(w, b, mask, ctx.batch, g) for w, b, g in zip(*heads, strict=True)]
        of_windows, of_bias = zip(*found, strict=True)
        return torch.cat(of_windows, 3), torch.cat(of_bias).to(bias.dtype), None, None


@torch.jit.unused
def attend_in_parts(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """As :func:`attend.attend_by_products`, where :func:`can_attend_in_parts` allows it.

    The loops of Python grow with the bytes of the scores, a turn for 2 MiB (or for one longer window).
    """
    return _AttendInParts.apply(windows, bias, mask, batch)
