"""Biases of attention by relative position, as a table (h, 2 * Ph - 1, 2 * Pw - 1) for any window.

An entry belongs to the offset key - query, plus window - 1, along each axis, whatever the weights' own layout is.
"""

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from .sizes import is_same


def resize_bias_table(table: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of a bias table, (h, rows, cols) to (h, *size), differentiable.

    Half-pixel centres and no antialiasing: the rule of the paper (A.1) and of the official code
    (google-research/maxvit, ``models/attention_utils.py``). timm resizes by another rule.
    """
    precise = table.to(torch.promote_types(table.dtype, torch.float32)).unsqueeze(0)
    resized = F.interpolate(precise, size=size, mode="bilinear", align_corners=False)
    return resized.squeeze(0).to(table.dtype)


def fit_bias_table(table: Tensor, window_size: tuple[int, int]) -> Tensor:
    """(h, rows, cols) to (h, 2 * Ph - 1, 2 * Pw - 1), resized, with gradient, if it has another size."""
    rows, cols = 2 * window_size[0] - 1, 2 * window_size[1] - 1
    if is_same(rows, table.shape[1]) and is_same(cols, table.shape[2]):
        return table
    return resize_bias_table(table, (rows, cols))


def _log_offsets(window_size: tuple[int, int], like: Tensor) -> Tensor:
    """sign(d) * log(1 + |d|) of the offsets d = query - key of a window, (2 * Ph - 1, 2 * Pw - 1, 2)."""
    ph, pw = window_size
    rows = ph - 1 - torch.arange(2 * ph - 1, device=like.device)
    cols = pw - 1 - torch.arange(2 * pw - 1, device=like.device)
    offsets = torch.stack(torch.meshgrid(rows, cols, indexing="ij"), dim=-1)
    offsets = offsets.to(torch.promote_types(like.dtype, torch.float32))
    return (offsets.sign() * offsets.abs().log1p()).to(like.dtype)


# A traced graph calls these whole: what they do depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("fit_bias_table")
torch.fx.wrap("_log_offsets")


class RelPosBias(nn.Module):
    """The learned bias table of one attention layer, kept at the size it was trained with.

    The parameter's name and (h, 2 * Ph - 1, 2 * Pw - 1) layout are those of timm's ``maxvit_*_tf_*``.
    """

    def __init__(self, num_heads: int, table_window: tuple[int, int], device=None, dtype=None):
        super().__init__()
        shape = (num_heads, 2 * table_window[0] - 1, 2 * table_window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    @torch.jit.unused
    def fitted(self, table: Tensor) -> Tensor:
        """A checkpoint's table at this one's size."""
        size = tuple(self.relative_position_bias_table.shape[-2:])
        return table if tuple(table.shape[-2:]) == size else resize_bias_table(table, size)

    def forward(self, window_size: tuple[int, int]) -> Tensor:
        """The table at the size of a window, (h, 2 * Ph - 1, 2 * Pw - 1)."""
        return fit_bias_table(self.relative_position_bias_table, window_size)


class FlatRelPosBias(nn.Module):
    """The same table as Swin and timm's ``*_rw`` keep it: (rows * cols, h), entries of query - key."""

    def __init__(self, num_heads: int, table_window: tuple[int, int], device=None, dtype=None):
        super().__init__()
        self.rows, self.cols = 2 * table_window[0] - 1, 2 * table_window[1] - 1
        shape = (self.rows * self.cols, num_heads)
        self.relative_position_bias_table = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)

    @torch.jit.unused
    def fitted(self, table: Tensor) -> Tensor:
        """A checkpoint's table, of a square window if of another one, at this one's size."""
        side = round(table.shape[0] ** 0.5)
        if len(table) == self.rows * self.cols or len(table) != side**2:
            return table
        square = table.view(side, side, -1).permute(2, 0, 1)
        return resize_bias_table(square, (self.rows, self.cols)).permute(1, 2, 0).flatten(0, 1).contiguous()

    def forward(self, window_size: tuple[int, int]) -> Tensor:
        """The table at the size of a window, (h, 2 * Ph - 1, 2 * Pw - 1)."""
        table = self.relative_position_bias_table.view(self.rows, self.cols, -1)
        return fit_bias_table(table.flip(0, 1).permute(2, 0, 1), window_size)


class RelPosMlp(nn.Module):
    """Two layers over the logarithms of an offset (timm's ``RelPosMlp``, mode "cr"): every window is native to it."""

    def __init__(self, num_heads: int, hidden_dim: int, **dd):
        super().__init__()
        self.mlp = Mlp(2, hidden_dim, num_heads, act_layer=nn.ReLU, drop=(0.125, 0.0), **dd)

    def forward(self, window_size: tuple[int, int]) -> Tensor:
        """Biases of a window, (h, 2 * Ph - 1, 2 * Pw - 1)."""
        return self.mlp(_log_offsets(window_size, self.mlp.fc1.weight)).permute(2, 0, 1)
