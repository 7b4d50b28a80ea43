"""Partitions made once for a size and kept; to PyTorch's compiler each is one operator."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
from torch import Tensor
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from .partition import Partition, make_partition
from .sizes import ceil_div, is_exporting, is_multiple

_KEPT = 64  # partitions of a process: both kinds for the four stages of eight image sizes


@lru_cache(maxsize=_KEPT)
@torch.inference_mode(False)  # or training could not use what an evaluation made
def _kept_partition(height, width, window_size, grid, device) -> Partition:
    return make_partition(height, width, window_size, grid, device)


_keeps_fakes = False


@contextmanager
def keeping_fake_partitions() -> Iterator[None]:
    """In here partitions of fake tensors are kept as those of real ones are, and forgotten at the end."""
    global _keeps_fakes
    _kept_partition.cache_clear()
    _keeps_fakes = True
    try:
        yield
    finally:
        _keeps_fakes = False
        _kept_partition.cache_clear()


@torch.library.custom_op(
    "maxvit_dense::partition",
    mutates_args=(),
    schema="(Tensor like, SymInt height, SymInt width, SymInt ph, SymInt pw, bool grid) -> (Tensor, Tensor, Tensor)",
)
def _partition_operator(like, height, width, ph, pw, grid):
    """A partition's tensors in one step: for sizes left free, the compiler simplified their arithmetic for minutes."""
    found = make_partition(height, width, (ph, pw), grid, like.device, sort=False)
    nowhere = torch.zeros_like(found.tokens, dtype=torch.bool)
    return found.tokens, found.slots, nowhere if found.outside is None else found.outside


@_partition_operator.register_fake
def _(like, height, width, ph, pw, grid):
    slots = like.new_empty((ceil_div(height, ph) * ceil_div(width, pw), ph * pw), dtype=torch.bool)
    return slots.to(torch.int64), like.new_empty(height * width, dtype=torch.int64), slots


@torch.jit.unused
def _find_partition(like: Tensor, height: int, width: int, window_size: tuple[int, int], grid: bool) -> Partition:
    if torch.compiler.is_compiling() and not is_exporting():
        tokens, slots, outside = _partition_operator(like, height, width, *window_size, grid)
        if is_multiple(height, window_size[0]) and is_multiple(width, window_size[1]):
            return Partition(window_size, tokens, slots, tokens.shape[0], None, grid)
        return Partition(window_size, tokens, slots, 0, outside, grid)
    if is_exporting() or torch.jit.is_tracing():
        return make_partition(height, width, window_size, grid, like.device, sort=False)
    kept = _keeps_fakes or not is_in_torch_dispatch_mode()  # fake tensors must not outlive their mode
    return (_kept_partition if kept else make_partition)(height, width, window_size, grid, like.device)


def find_partitions(like: Tensor, height: int, width: int, window_size: tuple[int, int]) -> tuple[Partition, Partition]:
    """Block and grid partition of a (height, width) map on the device of ``like``, made once for a size and kept."""
    if torch.jit.is_scripting():
        block = make_partition(height, width, window_size, False, like.device)
        return block, make_partition(height, width, window_size, True, like.device)
    else:  # spelled out: TorchScript must not compile these lines
        block = _find_partition(like, height, width, window_size, False)
        return block, _find_partition(like, height, width, window_size, True)
