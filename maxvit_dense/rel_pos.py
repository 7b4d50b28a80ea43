"""Relative position bias: the table as trained, resized to the window in use."""

import torch
import torch.nn.functional as F
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


def _offsets(place: Tensor, window: int) -> Tensor:
    """Table index of each (query, key) pair along one axis: key - query + window - 1, (N, N) int64."""
    return place[None, :] - place[:, None] + (window - 1)


def fit_bias_table(table: Tensor, window_size: tuple[int, int]) -> Tensor:
    """(h, rows, cols) to (h, 2 * Ph - 1, 2 * Pw - 1), resized if it has another size."""
    rows, cols = 2 * window_size[0] - 1, 2 * window_size[1] - 1
    if is_same(rows, table.shape[1]) and is_same(cols, table.shape[2]):
        return table
    return resize_bias_table(table, (rows, cols))


def expand_bias_table(table: Tensor, window_size: tuple[int, int]) -> Tensor:
    """Bias of every pair of window slots, read from the table at the size of the window.

    Args:
        table: (h, rows, cols) as trained; resized to (2 * Ph - 1, 2 * Pw - 1) if it has another size, with gradient.
            Entry (key - query + window - 1) of each axis belongs to that offset.
        window_size: (Ph, Pw).

    Returns:
        (h, N, N), query slot before key slot.
    """
    ph, pw = window_size
    table = fit_bias_table(table, window_size)
    slot = torch.arange(ph * pw, device=table.device)
    return table[:, _offsets(slot // pw, ph), _offsets(slot % pw, pw)]


class RelPosBias(nn.Module):
    """Holds the learned bias table of one attention layer, at the size it was trained with.

    The parameter's name and (h, 2 * Ph - 1, 2 * Pw - 1) layout are those of timm's ``maxvit_*_tf_*``. It is read by
    ``ops.partition_attention``.
    """

    def __init__(self, num_heads: int, table_window: tuple[int, int], device=None, dtype=None):
        super().__init__()
        shape = (num_heads, 2 * table_window[0] - 1, 2 * table_window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.relative_position_bias_table, std=0.02)
