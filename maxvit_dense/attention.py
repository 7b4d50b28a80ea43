"""Partition attention layer: attention within windows plus an MLP, on channels-last maps (B, H, W, C)."""

from collections.abc import Callable

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import Mlp
from torch import Tensor, nn

from . import ragged
from .mbconv import ImageDropPath
from .ops import partition_attention
from .ops.plain import attention_weights
from .partition import Partition
from .ragged import Places
from .sizes import is_same

# A traced graph calls these whole: what they do depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("partition_attention")
torch.fx.wrap("fit_bias_table")

HEAD_DIM = 32
MLP_RATIO = 4
LAYER_NORM_EPS = 1e-5


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


class RelPosBias(nn.Module):
    """The learned bias table of one attention layer, kept at the size it was trained with.

    The parameter's name and (h, 2 * Ph - 1, 2 * Pw - 1) layout are those of timm's ``maxvit_*_tf_*``: an entry is the
    bias of the offset key - query + window - 1 along each axis.
    """

    def __init__(self, num_heads: int, table_window: tuple[int, int], device=None, dtype=None):
        super().__init__()
        shape = (num_heads, 2 * table_window[0] - 1, 2 * table_window[1] - 1)
        self.relative_position_bias_table = nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.relative_position_bias_table, std=0.02)

    def forward(self, window_size: tuple[int, int]) -> Tensor:
        """The table at the size of a window, (h, 2 * Ph - 1, 2 * Pw - 1)."""
        return fit_bias_table(self.relative_position_bias_table, window_size)


class WindowAttention(nn.Module):
    """Multi-head self-attention with relative position bias, within the windows of a map."""

    def __init__(self, dim: int, table_window: tuple[int, int], **dd):
        super().__init__()
        if dim % HEAD_DIM:
            raise ValueError(f"attention width {dim} is not a multiple of the head size {HEAD_DIM}")
        self.num_heads = dim // HEAD_DIM
        self.qkv = nn.Linear(dim, 3 * dim, **dd)
        self.rel_pos = RelPosBias(self.num_heads, table_window, **dd)
        self.proj = nn.Linear(dim, dim, **dd)
        self.attn_drop = nn.Identity()  # is shown the attention weights while somebody has a hook on it

    @torch.jit.unused
    def _show_weights(self, qkv: Tensor, table: Tensor, partition: Partition) -> None:
        """For timm's ``AttentionExtract(network, method="hook")`` and its kind; the result does not depend on it."""
        if self.attn_drop._forward_hooks or self.attn_drop._forward_pre_hooks:
            self.attn_drop(attention_weights(qkv, table, partition, self.num_heads))

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Projections run on the map itself, so extended edges cost them nothing."""
        qkv = self.qkv(x)
        if torch.jit.is_scripting() or places is None:
            table = self.rel_pos(partition.window_size)
            if not torch.jit.is_scripting():
                self._show_weights(qkv, table, partition)
            return self.proj(partition_attention(qkv, table, partition, self.num_heads))
        return self.proj(ragged.attend(qkv, self.rel_pos, partition, self.num_heads))


class PartitionAttention(nn.Module):
    """Pre-norm attention and MLP, each with stochastic depth. Block or grid is the given partition's choice."""

    def __init__(
        self,
        dim: int,
        table_window: tuple[int, int],
        act_layer: Callable[[], nn.Module],
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS, **dd)
        self.attn = WindowAttention(dim, table_window, **dd)
        self.drop_path1 = ImageDropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS, **dd)
        self.mlp = Mlp(dim, MLP_RATIO * dim, act_layer=act_layer, **dd)
        self.drop_path2 = ImageDropPath(drop_path)

    def init_weights(self) -> None:
        """Xavier-uniform projections, near-zero MLP biases (timm's ``vit_eff`` scheme for these networks)."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if name.startswith("mlp"):
                    nn.init.normal_(module.bias, std=1e-6)
                else:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path1(self.attn(self.norm1(x), partition, places), places)
        return x + self.drop_path2(self.mlp(self.norm2(x)), places)
