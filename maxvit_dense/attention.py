"""Partition attention layer: attention within windows plus an MLP, on channels-last maps (B, H, W, C)."""

import torch
import torch.fx
from timm.layers import Mlp
from torch import Tensor, nn

from . import ragged
from .mbconv import ImageDropPath
from .ops import partition_attention
from .ops.plain import attention_weights
from .partition import Partition
from .ragged import Places
from .styles import EXPANSION, HEAD_DIM, OFFICIAL_ATTENTION, AttentionStyle
from .weight_init import init_transformer

# A traced graph calls it whole: what it does depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("partition_attention")


class Attention(nn.Module):
    """Multi-head self-attention with relative position bias, whatever its projections are: (B, H, W, C) in and out.

    Args:
        dim: width of the attention.
        qkv, proj: the projections before and behind it.
        table_window: (Ph, Pw) that tables of biases are made for.
    """

    def __init__(
        self, dim: int, qkv: nn.Module, proj: nn.Module, table_window: tuple[int, int], style: AttentionStyle, **dd
    ):
        super().__init__()
        if dim % HEAD_DIM:
            raise ValueError(f"attention width {dim} is not a multiple of the head size {HEAD_DIM}")
        self.num_heads = dim // HEAD_DIM
        self.head_first = style.head_first
        self.qkv = qkv
        self.rel_pos = style.position_bias(self.num_heads, table_window, **dd)
        self.proj = proj
        self.attn_drop = nn.Identity()  # is shown the attention weights while somebody has a hook on it

    @torch.jit.unused
    def _show_weights(self, qkv: Tensor, table: Tensor, partition: Partition) -> None:
        """For timm's ``AttentionExtract(network, method="hook")`` and its kind; the result does not depend on it."""
        if self.attn_drop._forward_hooks or self.attn_drop._forward_pre_hooks:
            self.attn_drop(attention_weights(qkv, table, partition, self.num_heads))

    def attend(self, qkv: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        """Attention within the windows of a map, (B, H, W, 3 * C) -> (B, H, W, C)."""
        if self.head_first:  # channels ordered by head, then by kind
            qkv = qkv.unflatten(3, [self.num_heads, 3, -1]).transpose(3, 4).flatten(3)
        if torch.jit.is_scripting() or places is None:
            table = self.rel_pos(partition.window_size)
            if not torch.jit.is_scripting():
                self._show_weights(qkv, table, partition)
            return partition_attention(qkv, table, partition, self.num_heads)
        return ragged.attend(qkv, self.rel_pos, partition, self.num_heads)


class WindowAttention(Attention):
    """Attention within the windows of a map."""

    def __init__(self, dim: int, table_window: tuple[int, int], style: AttentionStyle = OFFICIAL_ATTENTION, **dd):
        qkv, proj = nn.Linear(dim, 3 * dim, **dd), nn.Linear(dim, dim, **dd)
        super().__init__(dim, qkv, proj, table_window, style, **dd)

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Projections run on the map itself, so extended edges cost them nothing."""
        return self.proj(self.attend(self.qkv(x), partition, places))


class PartitionAttention(nn.Module):
    """Pre-norm attention and MLP, each with stochastic depth. Block or grid is the given partition's choice."""

    def __init__(
        self,
        dim: int,
        table_window: tuple[int, int],
        style: AttentionStyle = OFFICIAL_ATTENTION,
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=style.norm_eps, **dd)
        self.attn = WindowAttention(dim, table_window, style, **dd)
        self.ls1 = style.scale(dim, **dd)
        self.drop_path1 = ImageDropPath(drop_path)
        self.norm2 = nn.LayerNorm(dim, eps=style.norm_eps, **dd)
        self.mlp = Mlp(dim, EXPANSION * dim, act_layer=style.activation(), **dd)
        self.ls2 = style.scale(dim, **dd)
        self.drop_path2 = ImageDropPath(drop_path)

    def init_weights(self) -> None:
        init_transformer(self)

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        x = x + self.drop_path1(self.ls1(self.attn(self.norm1(x), partition, places)), places)
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))), places)
