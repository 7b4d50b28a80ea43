"""The bias of a window's pairs as fused attention kernels of CUDA take it, in one launch."""

import torch
from torch import Tensor

from ..kept import kept
from ..sizes import ceil_div

_ALIGNMENT = 8  # values; PyTorch copies a mask whose rows begin elsewhere ("preprocess_mask" of its attention.cpp)


@kept(8)
def _table_places(window_size: tuple[int, int], device: torch.device) -> Tensor:
    """The flat table entry of each pair of slots, rows of keys filled up: (N * ceil(N / 8) * 8,) int64."""
    ph, pw = window_size
    row = torch.arange(ph, device=device).repeat_interleave(pw)
    col = torch.arange(pw, device=device).repeat(ph)
    rows, cols = row - row.unsqueeze(1) + ph - 1, col - col.unsqueeze(1) + pw - 1
    places = rows * (2 * pw - 1) + cols
    tokens = ph * pw
    return torch.nn.functional.pad(places, (0, ceil_div(tokens, _ALIGNMENT) * _ALIGNMENT - tokens)).flatten()


class _Expand(torch.autograd.Function):
    """``plain.expand_bias_table`` as one gather; PyTorch's gradient of a gather would add one by one, in any order."""

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(table: Tensor, window_size: tuple[int, int], dtype: torch.dtype) -> Tensor:
        tokens = window_size[0] * window_size[1]
        places = _table_places(window_size, table.device)
        bias = table.flatten(1).index_select(1, places).to(dtype)
        return bias.view(table.shape[0], tokens, -1)[..., :tokens]

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        table, ctx.window_size, ctx.given = inputs
        ctx.shape, ctx.dtype = table.shape, table.dtype

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        (ph, pw), (heads, rows, cols) = ctx.window_size, ctx.shape
        pairs = grad.to(ctx.dtype).reshape(heads, ph, pw, ph, pw).flip(1, 2)
        # The gradient of the table's two unfoldings (``plain.expand_bias_table``), the last first.
        columns = torch.ops.aten.unfold_backward(pairs, [heads, ph, cols, ph], 2, pw, 1)
        return torch.ops.aten.unfold_backward(columns, [heads, rows, cols], 1, ph, 1), None, None

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_) -> Tensor:
        return _Expand.apply(tangent, ctx.window_size, ctx.given)


def expand_for_kernel(table: Tensor, window_size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """(h, 2 * Ph - 1, 2 * Pw - 1) to (h, N, N) of ``dtype``, whose rows begin at multiples of 8 values."""
    return _Expand.apply(table, window_size, dtype)
