"""What a training step recomputes in its backward pass rather than keeping in memory."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from timm.models._manipulate import checkpoint
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts

RECOMPUTE_MODES = (False, True, "cheap")

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


@contextmanager
def _still_statistics(module: nn.Module) -> Iterator[None]:
    """BatchNorm in training mode uses the batch's statistics, but leaves its running ones as they are."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    try:
        for norm in norms:
            norm.momentum, norm.num_batches_tracked = 0.0, None
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, tracked


def _recompute_all(block: nn.Module):
    return nullcontext(), _still_statistics(block)


def _recompute_cheap(block: nn.Module):
    forward, recompute = create_selective_checkpoint_contexts(_keep_arithmetic)
    return forward, _both(recompute, _still_statistics(block))


@contextmanager
def _both(first, second) -> Iterator[None]:
    with first, second:
        yield


def check_recompute(mode: bool | str) -> bool | str:
    """Returns the mode, or raises ValueError with those that exist."""
    if mode not in RECOMPUTE_MODES:
        raise ValueError(
            f"gradient checkpointing {mode!r}: give True (keep each block's input alone), 'cheap' (recompute "
            "normalisations, activations and partitions alone) or False (keep everything)"
        )
    return mode


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
    contexts = _recompute_cheap if mode == "cheap" else _recompute_all
    return checkpoint(block, *args, context_fn=partial(contexts, block))
