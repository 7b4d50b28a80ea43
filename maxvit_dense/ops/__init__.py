"""Attention inside the windows of a map. One public function that chooses; one backend per file.

The plain backend runs everywhere and defines the result; kernels only accelerate it.
"""

import importlib.util
import logging
import os

import torch
from torch import Tensor

from ..errors import InputError
from ..partition import Partition
from .cpu_inference import is_compiled_cpu_inference
from .plain import partition_attention as _plain_attention
from .plain import window_attention

__all__ = ["AUTOMATIC", "BACKENDS", "partition_attention", "set_backend", "why_not_triton"]

BACKENDS = ("plain", "triton")

# What is tried, in this order, when no backend is named: only what was measured to be faster than what follows it.
# The Triton kernel has not been timed on a GPU yet, so it runs by name only. To change when it has: "triton" first.
AUTOMATIC = ("plain",)

_TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
_TRITON_HEAD_SIZES = (16, 32, 64, 128)

logger = logging.getLogger(__name__)
_named: str | None = os.environ.get("MAXVIT_DENSE_ATTENTION") or None


def _is_installed(package: str) -> bool:
    """Whether a package can be found; it is not imported."""
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:  # a finder that refuses the name
        return False


_HAS_TRITON = _is_installed("triton")


def set_backend(name: str | None) -> None:
    """Names the backend of all later calls in this process; None chooses automatically.

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
    if not _HAS_TRITON:
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
    return None


def _choose(name: str | None, qkv: Tensor, num_heads: int) -> str:
    """The backend to use: the named one or an error, or the first automatic one that can run."""
    _check_name(name)
    for candidate in AUTOMATIC if name is None else (name,):
        reason = why_not_triton(qkv, num_heads) if candidate == "triton" else None
        if reason is None:
            return candidate
        if name is not None:
            raise InputError(f"the attention backend 'triton' was asked for but cannot run: {reason}")
        if not torch.compiler.is_compiling():
            logger.debug("the attention backend 'triton' is passed over: %s", reason)
    return "plain"


def _attend_by(name: str, qkv: Tensor, bias_table: Tensor, partition: Partition, num_heads: int) -> Tensor:
    """Runs one backend. Apart from the public function, for TorchScript parses that one and knows no imports."""
    if name == "plain":
        if is_compiled_cpu_inference(qkv):
            return window_attention(qkv, bias_table, partition.window_size, partition.grid, num_heads)
        return _plain_attention(qkv, bias_table, partition, num_heads)
    from .triton_op import partition_attention as triton_attention  # triton is optional

    return triton_attention(qkv, bias_table, partition, num_heads)


def partition_attention(
    qkv: Tensor, bias_table: Tensor, partition: Partition, num_heads: int, backend: str | None = None
) -> Tensor:
    """Multi-head attention within each window of a map, by the backend chosen for it.

    Args:
        qkv: (B, H, W, 3 * C) queries, keys and values of the unpartitioned map, in this order, heads-major.
        bias_table: (h, rows, cols) relative position bias table as trained, any floating dtype.
        partition: block or grid partition of an (H, W) map.
        num_heads: h; C / h is the head size D and scores are scaled by D ** -0.5.
        backend: "plain" or "triton"; by default what :func:`set_backend` or MAXVIT_DENSE_ATTENTION named, else the
            first of AUTOMATIC that can run. TorchScript always takes the plain one.

    Returns:
        (B, H, W, C) contiguous. Slots outside the map are neither attended to nor returned.

    Raises:
        InputError: no such backend, or the named one cannot run; the text says why.
    """
    if torch.jit.is_scripting():
        return _plain_attention(qkv, bias_table, partition, num_heads)
    else:  # spelled out: TorchScript must not compile this branch
        return _attend_by(_choose(backend or _named, qkv, num_heads), qkv, bias_table, partition, num_heads)
