"""Rows moved to other places, in one pass forward and one backward."""

import torch
from torch import Tensor

from .sizes import is_exporting


class _MoveRows(torch.autograd.Function):
    """index_select whose gradient is index_select too, since no position but those of ``back`` takes part in it.

    PyTorch's own gradient adds rows to zeros one by one, in an order that CUDA does not fix.
    """

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
        return rows.index_select(0, index)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        _, index, back, unused = inputs
        ctx.save_for_backward(back, unused)
        ctx.save_for_forward(index)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        back, unused = ctx.saved_tensors
        grad = grad.index_select(0, back)
        if unused is not None:
            grad[grad.shape[0] - unused.shape[0] :].masked_fill_(unused, 0.0)
        return grad, None, None, None


class _MoveRowsForward(_MoveRows):
    """The same with a forward-mode derivative, apart because PyTorch's compiler takes no function that has one."""

    @staticmethod
    def jvp(ctx, tangent: Tensor, *_) -> Tensor:
        (index,) = ctx.saved_tensors
        return tangent.index_select(0, index)


@torch.jit.unused
def _move_rows(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None) -> Tensor:
    if is_exporting() or torch.jit.is_tracing():
        return rows.index_select(0, index)
    return (_MoveRows if torch.compiler.is_compiling() else _MoveRowsForward).apply(rows, index, back, unused)


def move_rows(rows: Tensor, index: Tensor, back: Tensor, unused: Tensor | None = None) -> Tensor:
    """Rows in another order: (n, C) to (len(index), C).

    Args:
        rows: (n, C).
        index: (m,) the row that each place reads.
        back: (n,) the place whose gradient each row receives; other places must not have any.
        unused: (k, 1) bool, True for those of the last k rows that no place reads, where ``back`` holds any number.
    """
    if torch.jit.is_scripting():
        return rows.index_select(0, index)
    else:  # spelled out: TorchScript must not compile this line
        return _move_rows(rows, index, back, unused)
