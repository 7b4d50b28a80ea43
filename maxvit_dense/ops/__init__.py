"""Attention inside the windows of a map. One public function that chooses; one backend per file.

The plain backend runs everywhere, defines the result and is what runs unless another is named; to PyTorch's compiler it
is one operator (``compiled.py``). The Triton kernel has not been timed on a GPU yet, so it runs by name only.
"""

import importlib.util
import os

import torch
from torch import Tensor

from ..errors import InputError
from ..partition import Partition
from ..sizes import is_exporting
from .compiled import partition_attention as _compiled_attention
from .plain import partition_attention as _plain_attention

__all__ = ["BACKENDS", "partition_attention", "set_backend", "why_not_triton"]

BACKENDS = ("plain", "triton")

_TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_TRITON_HEAD_SIZES = (16, 32, 64, 128)

_named: str | None = os.environ.get("MAXVIT_DENSE_ATTENTION") or None


@torch.compiler.assume_constant_result  # or PyTorch 2.11's compiler would look into importlib
def _is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a finder that refuses the name
        return False


def set_backend(name: str | None) -> None:
    """Names the backend of all later calls in this process; None stands for the plain one.

    The environment variable MAXVIT_DENSE_ATTENTION does so from the start. There is no context manager: gradient
    checkpointing computes the forward pass again after one would have ended, and must meet the same backend.

    Raises:
        InputError: no such backend.
    """
    global _named
    _check_name(name)
    _named = name


def _check_name(name: str | None) -> None:
    if name is not None and name not in BACKENDS:
        raise InputError(f"no attention backend {name!r}; there are {', '.join(BACKENDS)}")


def why_not_triton(qkv: Tensor, num_heads: int) -> str | None:
    """The reason for which the Triton kernel cannot serve this call, or None if it can."""
    interpreted = os.environ.get("TRITON_INTERPRET") == "1"
    if not _is_installed("triton"):
        return "the package triton is not installed; it comes with PyTorch's CUDA builds for Linux"
    if not (qkv.is_cuda or interpreted):
        return f"the map is on {qkv.device.type}, the kernel needs a CUDA device (or TRITON_INTERPRET=1, for tests)"
    if not interpreted and torch.cuda.get_device_capability(qkv.device) < (8, 0):
        return f"{torch.cuda.get_device_name(qkv.device)} is older than compute capability 8.0"
    if qkv.dtype not in _TRITON_DTYPES:
        return f"the map is {qkv.dtype}, the kernel takes float16, bfloat16 and float32"
    if qkv.shape[3] // (3 * num_heads) not in _TRITON_HEAD_SIZES:
        return f"the head size is {qkv.shape[3] // (3 * num_heads)}, the kernel takes 16, 32, 64 and 128"
    if qkv.shape[1] * qkv.shape[2] * qkv.shape[3] >= 2**31:
        return "one image's map has 2**31 values or more, the kernel counts them in 32 bits"
    if not _is_installed("triton.knobs"):  # asked last, since it imports triton
        return "this triton is older than 3.4, which came with PyTorch 2.8"
    return None


@torch.jit.unused
def _attend_by(name: str, qkv: Tensor, table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    _check_name(name)
    if name == "plain" and torch.compiler.is_compiling() and not is_exporting():
        return _compiled_attention(qkv, table, partition, num_heads)
    if name == "plain":
        return _plain_attention(qkv, table, partition, num_heads)
    reason = why_not_triton(qkv, num_heads)
    if reason is not None:
        raise InputError(f"the attention backend 'triton' was asked for but cannot run: {reason}")
    from .triton_op import partition_attention as triton_attention  # triton is optional

    return triton_attention(qkv, table, partition, num_heads)


def partition_attention(
    qkv: Tensor, table: Tensor, partition: Partition, num_heads: int, backend: str | None = None
) -> Tensor:
    """Multi-head attention within each window of a map, by the backend named for it.

    Args:
        qkv: (B, H, W, 3 * C) queries, keys and values of the unpartitioned map, in this order, heads-major.
        table: (h, 2 * Ph - 1, 2 * Pw - 1) relative position biases, any floating dtype.
        partition: block or grid partition of an (H, W) map into windows of Ph x Pw.
        num_heads: h; C / h is the head size D and scores are scaled by D ** -0.5.
        backend: "plain" or "triton"; by default what :func:`set_backend` or MAXVIT_DENSE_ATTENTION named, else plain.
            TorchScript always takes the plain one.

    Returns:
        (B, H, W, C) contiguous. Slots outside the map are neither attended to nor returned.

    Raises:
        InputError: no such backend, or the named one cannot run; the text says why.
    """
    if torch.jit.is_scripting():
        return _plain_attention(qkv, table, partition, num_heads)
    else:  # spelled out: TorchScript must not compile this branch
        return _attend_by(backend or _named or "plain", qkv, table, partition, num_heads)
