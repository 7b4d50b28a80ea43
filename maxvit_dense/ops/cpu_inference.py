"""Inference on a CPU: when its shortcuts may be taken, and which steps PyTorch's compiler calls whole there.

Inductor has nothing to add to those steps (docs/performance.md): their time is in matrix products and copies that it
does not fuse, and for sizes left free its index arithmetic of windows and paddings took minutes to simplify.
"""

from collections.abc import Callable
from functools import wraps

import torch
import torch.utils._python_dispatch
from torch import Tensor

_DTYPES = (torch.float32, torch.bfloat16)
_HAS_ONEDNN = torch.backends.mkldnn.is_available()


def compute_dtype(x: Tensor) -> torch.dtype:
    """Autocast's dtype where it is on, else that of the map."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else x.dtype


@torch.jit.unused
def is_compiling() -> bool:
    """Whether this is being compiled, to run here; a program for export is traced as it stands."""
    return torch.compiler.is_compiling() and not torch.compiler.is_exporting()


@torch.jit.unused
def is_cpu_inference(x: Tensor) -> bool:
    """Whether operators without a gradient may serve this call: plain CPU tensors, no gradient, nobody tracing.

    A tracer or exporter shall see PyTorch's own operators, which every backend and every FLOP counter knows.
    """
    if not _HAS_ONEDNN or not x.is_cpu or torch.is_grad_enabled() or compute_dtype(x) not in _DTYPES:
        return False
    if torch.compiler.is_compiling():
        return not torch.compiler.is_exporting()
    if torch.jit.is_tracing() or torch.utils._python_dispatch.is_in_torch_dispatch_mode():
        return False
    return type(x) is Tensor and x.numel() > 0 and bool(torch.backends.mkldnn.enabled)


def is_compiled_cpu_inference(x: Tensor) -> bool:
    """Whether the steps below are operators in this call."""
    return torch.compiler.is_compiling() and is_cpu_inference(x)


def whole_step(fake: Callable[..., Tensor]) -> Callable[[Callable[..., Tensor]], Callable[..., Tensor]]:
    """Decorator: while CPU inference is compiled, the function is one operator, ``maxvit_dense::name``.

    Args:
        fake: makes an empty output from the same arguments, in its shape, dtype and memory layout.

    The function's annotations become the operator's schema; it must not return or change what it was given.
    """

    def decorate(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
        name = f"maxvit_dense::{function.__name__.lstrip('_')}"
        operator = torch.library.custom_op(name, function, mutates_args=())
        operator.register_fake(fake)

        @wraps(function)
        def call(x: Tensor, *args) -> Tensor:
            return (operator if is_compiled_cpu_inference(x) else function)(x, *args)

        return call

    return decorate
