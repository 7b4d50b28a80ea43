"""Partition attention layer: attention within windows plus an MLP, on channels-last maps (B, H, W, C)."""

from collections.abc import Callable

import torch
import torch.fx
from timm.layers import DropPath, Mlp
from torch import Tensor, nn

from .ops import partition_attention
from .ops.cpu_inference import is_cpu_inference
from .ops.fused import gelu_algorithm, linear_add, linear_gelu
from .partition import Partition
from .rel_pos import RelPosBias

# A traced graph calls it whole: what it does depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("partition_attention")

HEAD_DIM = 32
MLP_RATIO = 4
LAYER_NORM_EPS = 1e-5


class WindowAttention(nn.Module):
    """Multi-head self-attention with relative position bias, within the windows of a map."""

    def __init__(self, dim: int, table_window: tuple[int, int], device=None, dtype=None):
        super().__init__()
        if dim % HEAD_DIM:
            raise ValueError(f"attention width {dim} is not a multiple of the head size {HEAD_DIM}")
        self.num_heads = dim // HEAD_DIM
        self.qkv = nn.Linear(dim, 3 * dim, device=device, dtype=dtype)
        self.rel_pos = RelPosBias(self.num_heads, table_window, device=device, dtype=dtype)
        self.proj = nn.Linear(dim, dim, device=device, dtype=dtype)

    def attend(self, x: Tensor, partition: Partition) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C), what the heads gather before it is projected."""
        table = self.rel_pos.relative_position_bias_table
        return partition_attention(self.qkv(x), table, partition, self.num_heads)

    def forward(self, x: Tensor, partition: Partition) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C). Projections run on the map itself, so extended edges cost them nothing."""
        return self.proj(self.attend(x, partition))


class PartitionAttention(nn.Module):
    """Pre-norm attention and MLP, each with stochastic depth. Block or grid is the given partition's choice."""

    def __init__(
        self,
        dim: int,
        table_window: tuple[int, int],
        act_layer: Callable[[], nn.Module],
        drop_path: float = 0.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.norm1 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS, **dd)
        self.attn = WindowAttention(dim, table_window, **dd)
        self.drop_path1 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=LAYER_NORM_EPS, **dd)
        self.mlp = Mlp(dim, MLP_RATIO * dim, act_layer=act_layer, **dd)
        self.drop_path2 = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()
        self.gelu = ""  # formula for fused operators, set when folded

    def init_weights(self) -> None:
        """Xavier-uniform projections, near-zero MLP biases (timm's ``vit_eff`` scheme for these networks)."""
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if name.startswith("mlp"):
                    nn.init.normal_(module.bias, std=1e-6)
                else:
                    nn.init.zeros_(module.bias)

    def reparameterize(self) -> None:
        """Lets CPU inference use fused operators (``ops.fused``); called by ``timm.utils.reparameterize_model``."""
        self.gelu = gelu_algorithm(self.mlp.act)

    @torch.jit.unused
    def _forward_fused(self, x: Tensor, partition: Partition) -> Tensor:
        x = linear_add(self.attn.attend(self.norm1(x), partition), self.attn.proj, x)
        return linear_add(linear_gelu(self.norm2(x), self.mlp.fc1, self.gelu), self.mlp.fc2, x)

    def forward(self, x: Tensor, partition: Partition) -> Tensor:
        """(B, H, W, C) -> (B, H, W, C)."""
        if not torch.jit.is_scripting() and self.gelu != "" and is_cpu_inference(x):
            return self._forward_fused(x, partition)
        x = x + self.drop_path1(self.attn(self.norm1(x), partition))
        return x + self.drop_path2(self.mlp(self.norm2(x)))
