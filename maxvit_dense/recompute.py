"""What a training step recomputes in its backward pass rather than keeping in memory."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

import torch
from timm.models._manipulate import checkpoint
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

_RECOMPUTE_MODES = (False, True, "cheap")

_KEPT_NAMES = (
    "addmm",
    "mm",
    "bmm",
    "baddbmm",
    "convolution",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
)
_KEPT = {getattr(torch.ops.aten, name).default for name in _KEPT_NAMES if hasattr(torch.ops.aten, name)}


def _keep_arithmetic(ctx, op, *args, **kwargs) -> CheckpointPolicy:
    ours = op.namespace == "maxvit_dense"  # attention kernels
    return CheckpointPolicy.MUST_SAVE if ours or op in _KEPT else CheckpointPolicy.PREFER_RECOMPUTE


class _StillStatistics(TorchFunctionMode):
    """BatchNorm in training mode uses the batch's statistics, but leaves its running ones as they are.

    A step's repetition updates copies. The modules stay untouched, and other threads see nothing of it.
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        self.copies = {id(buffer): buffer.clone() for norm in norms for buffer in norm.buffers(recurse=False)}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*(self.copies.get(id(arg), arg) for arg in args), **(kwargs or {}))


@contextmanager
def _repetition(block: nn.Module, within: AbstractContextManager) -> Iterator[None]:
    still = _StillStatistics(block)  # before ``within``, which counts operators
    with within, still:
        yield


def _contexts(block: nn.Module, mode: bool | str):
    """Contexts of the forward pass and of its repetition, as ``torch.utils.checkpoint`` takes them."""
    kept = nullcontext(), nullcontext()
    if mode == "cheap":
        kept = create_selective_checkpoint_contexts(_keep_arithmetic)
    return kept[0], _repetition(block, kept[1])


def check_recompute(mode: bool | str) -> None:
    """Raises ValueError, with the modes that exist, for any other."""
    if mode not in _RECOMPUTE_MODES:
        raise ValueError(
            f"gradient checkpointing {mode!r}: give True (keep each block's input alone), 'cheap' (recompute "
            "normalisations, activations and partitions alone) or False (keep everything)"
        )


def run_block(block: nn.Module, mode: bool | str, *args) -> Tensor:
    """Calls a block and arranges what its backward pass recomputes.

    Args:
        block: module of one map and its partitions.
        mode: False keeps everything; "cheap" keeps the results of convolutions and matrix products; True keeps
            the inputs alone, for about a third more time.

    Source: PyTorch's selective activation checkpointing (``torch.utils.checkpoint``).
    """
    if not mode:
        return block(*args)
    if torch.compiler.is_compiling():  # the compiler's partitioner decides for itself what is cheap
        return checkpoint(block, *args)
    return checkpoint(block, *args, context_fn=partial(_contexts, block, mode))
