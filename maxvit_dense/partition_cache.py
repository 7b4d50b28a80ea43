"""Partitions made once for a size and kept; to PyTorch's compiler each is one operator."""

import torch
from torch import Tensor

from .kept import kept
from .partition import Partition, for_batch, make_partition
from .sizes import ceil_div, is_exporting, is_multiple


@kept(64)  # both kinds for the four stages of eight sizes of images and batches
def kept_partition(height, width, window_size, grid, device, images) -> Partition:
    return for_batch(make_partition(height, width, window_size, grid, device), images, height * width)


@torch.library.custom_op(
    "maxvit_dense::partition",
    mutates_args=(),
    schema="(Tensor like, SymInt height, SymInt width, SymInt ph, SymInt pw, bool grid) -> (Tensor, Tensor, Tensor)",
)
def _partition_operator(like, height, width, ph, pw, grid):
    """A partition's tensors in one step.

    Attention of a compiled network reads them only where a hook asks for its weights; tracing their arithmetic all the
    same took MaxViT-T at free sizes 43 s of a core in place of 32 for a training step, 20 in place of 14 for maps.
    """
    found = make_partition(height, width, (ph, pw), grid, like.device, sort=False)
    nowhere = torch.zeros_like(found.tokens, dtype=torch.bool)
    return found.tokens, found.slots, nowhere if found.outside is None else found.outside


@_partition_operator.register_fake
def _(like, height, width, ph, pw, grid):
    slots = like.new_empty((ceil_div(height, ph) * ceil_div(width, pw), ph * pw), dtype=torch.bool)
    return slots.to(torch.int64), like.new_empty(height * width, dtype=torch.int64), slots


@torch.jit.unused
def _find_partition(
    like: Tensor, height: int, width: int, window_size: tuple[int, int], grid: bool, images: int
) -> Partition:
    if torch.compiler.is_compiling() and not is_exporting():
        tokens, slots, outside = _partition_operator(like, height, width, *window_size, grid)
        if is_multiple(height, window_size[0]) and is_multiple(width, window_size[1]):
            return Partition(window_size, tokens, slots, tokens.shape[0], None, grid)
        return Partition(window_size, tokens, slots, 0, outside, grid)
    if is_exporting() or torch.jit.is_tracing():
        return make_partition(height, width, window_size, grid, like.device, sort=False)
    return kept_partition(height, width, window_size, grid, like.device, images)


def find_partitions(
    like: Tensor, height: int, width: int, window_size: tuple[int, int], images: int = 1
) -> tuple[Partition, Partition]:
    """Block and grid partition of (height, width) maps on the device of ``like``, made once for a size and kept.

    Programs that are compiled, traced or exported get those of one map, whatever ``images`` is.
    """
    if torch.jit.is_scripting():
        block = make_partition(height, width, window_size, False, like.device)
        return block, make_partition(height, width, window_size, True, like.device)
    else:  # spelled out: TorchScript must not compile these lines
        block = _find_partition(like, height, width, window_size, False, images)
        return block, _find_partition(like, height, width, window_size, True, images)
