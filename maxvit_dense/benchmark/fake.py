"""Steps of networks on a device that is not there: tensors without values, on the operators that CUDA would run."""

import heapq
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from ..kept import keeping_fakes


def move_to_fake(network: nn.Module, device: str, mode: FakeTensorMode) -> None:
    """Puts fake tensors of the same shapes in the place of all parameters and buffers."""
    with mode:
        for module in network.modules():
            for name, value in module._parameters.items():
                if value is not None:
                    fake = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=device)
                    module._parameters[name] = nn.Parameter(fake, value.requires_grad)
            for name, value in module._buffers.items():
                if value is not None:
                    module._buffers[name] = torch.empty_strided(
                        value.shape, value.stride(), dtype=value.dtype, device=device
                    )


class _CudaAttention(TorchFunctionMode):
    """``F.scaled_dot_product_attention`` as CUDA takes it; where there is none, PyTorch's choice is another.

    Without a mask the flash kernel in half precision; else the memory-efficient one, which wants rows of the mask that
    begin at multiples of 8 values (``aten/src/ATen/native/transformers/attention.cpp``, ``preprocess_mask``).
    """

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attend_on_cuda(*args, **kwargs)
        return func(*args, **kwargs)


def _attend_on_cuda(q, k, v, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None) -> Tensor:
    if attn_mask is None and q.dtype in (torch.float16, torch.bfloat16):
        return torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, dropout_p, is_causal, scale=scale)[0]
    if attn_mask is not None:
        attn_mask = attn_mask.to(q.dtype)
        keys = attn_mask.shape[-1]
        if any(stride % 8 for stride in attn_mask.stride()[:-1]):
            attn_mask = F.pad(attn_mask, (0, -keys % 8))[..., :keys]
        attn_mask = attn_mask.expand(q.shape[0], q.shape[1], q.shape[2], keys)
    needs_sums = any(t is not None and t.requires_grad for t in (q, k, v, attn_mask))
    return torch.ops.aten._scaled_dot_product_efficient_attention(
        q, k, v, attn_mask, needs_sums, dropout_p, is_causal, scale=scale
    )[0]


@contextmanager
def fake_device(device: str, mode: FakeTensorMode, dtype: torch.dtype | None) -> Iterator[None]:
    """Networks of ``move_to_fake`` run in here on "cpu" or "cuda", under autocast to ``dtype`` if one is given."""
    attention = _CudaAttention() if device == "cuda" else nullcontext()
    with mode, keeping_fakes(), attention, _autocast(device, dtype):
        yield


@contextmanager
def _autocast(device: str, dtype: torch.dtype | None) -> Iterator[None]:
    """``torch.autocast``, around the call and in what is recomputed, told that the device is there."""
    there = patch.object(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    knows_bf16 = patch.object(torch.cuda, "is_bf16_supported", lambda *_: True)
    with there, knows_bf16, torch.autocast(device, dtype) if dtype else nullcontext():
        yield


@contextmanager
def _one_backward_pass() -> Iterator[None]:
    """Activation checkpointing computes a block again once for each pass of the engine, which it asks for a number."""
    asked = torch._C._current_graph_task_id
    torch._C._current_graph_task_id = lambda: 0
    try:
        yield
    finally:
        torch._C._current_graph_task_id = asked


class _Probe(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1


@cache
def nodes_last() -> bool:
    """Whether a Python function's node outlives the nodes that use it, as pytorch/pytorch#179924 made it.

    PyTorch 2.11 has nothing of a node but its name left then; 2.14 has it all.
    """
    node = _Probe.apply(torch.ones((), requires_grad=True)).grad_fn
    try:
        return bool(node._input_metadata)
    except RuntimeError:
        return False


@_one_backward_pass()
@torch.no_grad()
def run_backward(loss: Tensor) -> None:
    """``loss.backward()`` without PyTorch's engine, which asks the driver of a device that is not there.

    Nodes run in the engine's order: none before all that use its result, later ones of the forward pass first.
    Gradients are brought to the shape and format of what they belong to, as the engine does.

    Raises:
        RuntimeError: this PyTorch is too old (``nodes_last``).
    """
    if not nodes_last():
        raise RuntimeError(
            f"training on a GPU that is not here is counted with PyTorch 2.14, not {torch.__version__}; count "
            "inference, or install that"
        )
    uses = _count_uses(loss.grad_fn)
    grads: dict = defaultdict(dict)
    grads[loss.grad_fn][0] = torch.ones_like(loss)
    ready, order = [(0, 0, loss.grad_fn)], 0
    loss.detach_()  # nodes live until they have run, and with them what they saved
    while ready:
        node = heapq.heappop(ready)[2]
        results = _call(node, grads.pop(node, {}))
        for grad, (child, place) in zip(results, node.next_functions, strict=True):
            if child is None:
                continue
            if grad is not None:
                grad, sums = _fitted(grad, child._input_metadata[place]), grads[child]
                sums[place] = sums[place] + grad if place in sums else grad
            uses[child] -= 1
            if not uses[child]:
                del uses[child]
                order += 1
                heapq.heappush(ready, (-child._sequence_nr(), order, child))


def _count_uses(root) -> dict:
    uses, seen, todo = defaultdict(int), {root}, [root]
    while todo:
        for child, _ in todo.pop().next_functions:
            if child is not None:
                uses[child] += 1
                if child not in seen:
                    seen.add(child)
                    todo.append(child)
    return uses


def _call(node, given: dict[int, Tensor]) -> tuple:
    """Gradients of a node's inputs; those that nothing reached are None."""
    if not given:
        return (None,) * len(node.next_functions)
    if hasattr(node, "variable"):  # a parameter: the engine hands the gradient over as it is
        node.variable.grad = given[0].detach()
        return ()
    arguments = [given.get(i) for i in range(len(node._input_metadata))]

    results = (node.apply if isinstance(node, torch.autograd.function.BackwardCFunction) else node)(*arguments)
    results = results if isinstance(results, tuple) else (results,)
    return results[: len(node.next_functions)]  # those of a Python function's last arguments may be for no tensors


def _fitted(grad: Tensor, wanted) -> Tensor:
    if grad.shape != wanted.shape:
        grad = grad.sum_to_size(wanted.shape)
    return grad.to(wanted.dtype)
