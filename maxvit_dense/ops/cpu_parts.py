"""Attention on a CPU a part of the windows at a time, so that no layer's scores or masks are ever all in memory.

Written out, scores are stored for the backward pass: 0.6 GB a layer for 832x1344 pixels and windows of 26x42. Here the
forward pass is PyTorch's fused kernel, which keeps a number a query (the logarithm of its sum of exponentials), and the
backward pass computes the scores again, in the cache. PyTorch's own gradient of that kernel has none for the bias.

Source: FlashAttention (arXiv 2205.14135), section 3.1 and appendix B.2, for the backward pass.
"""

from functools import partial

import torch
from torch import Tensor
from torch.amp import custom_bwd, custom_fwd
from torch.utils._python_dispatch import _get_current_dispatch_mode_stack

from .products import attend_by_products, outside_keys

PART_BYTES = 2 << 20  # scores at a time: what a core's cache holds
LEAST_BYTES = 24 << 20  # a layer's scores; glibc keeps less than 32 MB for reuse, and whole products are faster in it

_DTYPES = (torch.float32, torch.float64, torch.bfloat16)
_fused_attention = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default


def _is_observed() -> bool:
    """Whether compilers, tracers, ``torch.func`` or FLOP counters shall see products; recomputation needs none."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing() or torch._C._are_functorch_transforms_active():
        return True
    return any(type(mode).__module__ != "torch.utils.checkpoint" for mode in _get_current_dispatch_mode_stack())


@torch.jit.unused
def can_attend_in_parts(windows: Tensor) -> bool:
    """Whether :func:`attend_in_parts` may serve windows (B * nW, N, 3, h, D), and gains time."""
    if not windows.is_cpu or windows.dtype not in _DTYPES or _is_observed():
        return False
    count, tokens, _, heads, _ = windows.shape
    return type(windows) is Tensor and count * heads * tokens**2 * windows.itemsize > LEAST_BYTES


def _windows_at_once(windows: Tensor, heads: int) -> int:
    """How many windows' scores of so many heads are a part."""
    return max(1, PART_BYTES // (heads * windows.shape[1] ** 2 * windows.itemsize))


def _forward(windows: Tensor, bias: Tensor, outside: Tensor | None) -> tuple[Tensor, Tensor]:
    """Results (B * nW, h, N, D) and the logarithms (B * nW, h, N) of the sums of exponentials."""
    q, k, v = windows.permute(2, 0, 3, 1, 4).unbind(0)
    if outside is None:
        return _fused_attention(q, k, v, attn_mask=bias.unsqueeze(0))
    step = _windows_at_once(windows, bias.shape[0])
    found = []
    for *qkv, hidden in zip(*(x.split(step) for x in (q, k, v, outside)), strict=True):
        bias_of_each = bias.unsqueeze(0).masked_fill(hidden[:, None, None], float("-inf"))
        out, log_sums = _fused_attention(*qkv, attn_mask=bias_of_each)
        found.append((out.transpose(1, 2), log_sums))  # as they lie in memory
    outs, sums = zip(*found, strict=True)
    return torch.cat(outs).transpose(1, 2), torch.cat(sums)


class _AttendInParts(torch.autograd.Function):
    @staticmethod
    @custom_fwd(device_type="cpu")
    def forward(ctx, windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
        outside = None if mask is None else outside_keys(mask, batch)
        out, log_sums = _forward(windows, bias, outside)
        ctx.batch = batch
        ctx.save_for_backward(windows, bias, mask, out, log_sums)
        return out.transpose(1, 2)

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx, grad: Tensor) -> tuple:
        windows, bias, mask, out, log_sums = ctx.saved_tensors
        if torch.is_grad_enabled():  # somebody differentiates gradients
            again = partial(attend_by_products, mask=mask, batch=ctx.batch)
            _, gradients = torch.autograd.functional.vjp(again, (windows, bias), grad, create_graph=True)
            return *gradients, None, None
        outside = None if mask is None else outside_keys(mask, ctx.batch)
        return *_gradients(windows, bias, outside, out, log_sums, grad.transpose(1, 2)), None, None


def _part_gradients(q, k, v, bias, hidden, out, log_sums, grad, scores, grad_scores) -> tuple:
    """Gradients of one head in some windows: of queries, keys and values (n, N, D) and of the scores (n, N, N).

    Args:
        hidden: (n, N) bool, keys outside the map; None if there are none.
        log_sums: (n, N).
        scores, grad_scores: (n, N, N), written over.
    """
    scale = q.shape[-1] ** -0.5
    torch.baddbmm(bias.expand_as(scores), q, k.mT, alpha=scale, out=scores)
    weights = scores.sub_(log_sums.unsqueeze(-1)).exp_()
    if hidden is not None:
        weights.masked_fill_(hidden.unsqueeze(1), 0.0)
    torch.bmm(grad, v.mT, out=grad_scores)
    mean = (grad * out).sum(-1, keepdim=True)  # of the weights' gradients, by the weights
    grad_scores.sub_(mean).mul_(weights)
    dq, dk = torch.bmm(grad_scores, k).mul_(scale), torch.bmm(grad_scores.mT, q).mul_(scale)
    return dq, dk, torch.bmm(weights.mT, grad), grad_scores


def _gradients(windows, bias, outside, out, log_sums, grad) -> tuple[Tensor, Tensor]:
    """Gradients of windows and bias; ``out`` and ``grad`` are (B * nW, h, N, D)."""
    count, tokens, _, heads, _ = windows.shape
    grad_windows = torch.empty_like(windows)
    grad_bias = torch.zeros_like(bias, dtype=torch.promote_types(bias.dtype, torch.float32))
    step = _windows_at_once(windows, 1)
    buffers = windows.new_empty(2, min(step, count), tokens, tokens)
    for head in range(heads):
        for start in range(0, count, step):
            part = slice(start, min(start + step, count))
            *found, grad_scores = _part_gradients(
                *windows[part, :, :, head].unbind(2),
                bias[head],
                None if outside is None else outside[part],
                out[part, head],
                log_sums[part, head],
                grad[part, head].contiguous(),
                *buffers[:, : part.stop - start],
            )
            torch.stack(found, 2, out=grad_windows[part, :, :, head])
            grad_bias[head] += grad_scores.sum(0) if len(grad_scores) > 1 else grad_scores[0]
    return grad_windows, grad_bias.to(bias.dtype)


@torch.jit.unused
def attend_in_parts(windows: Tensor, bias: Tensor, mask: Tensor | None, batch: int) -> Tensor:
    """As :func:`products.attend_by_products`, where :func:`can_attend_in_parts` allows it.

    The loops of Python grow with the bytes of the scores, a turn for 2 MiB (or for one longer window).
    """
    return _AttendInParts.apply(windows, bias, mask, batch)
