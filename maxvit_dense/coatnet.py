"""CoAtNet: two stages of MBConv, then two of attention over the whole map, of the parts that MaxViT has.

Paper: "CoAtNet: Marrying Convolution and Attention for All Data Sizes", arXiv 2106.04803. Parameter names and shapes
are those of timm's ``coatnet_*`` (timm ``models/maxxvit.py``); any image size is accepted. Attention over a map is a
partition of one window, the map's own size, so tables of biases are resized as MaxViT's are when its window changes.
"""

from collections import OrderedDict
from functools import partial

import torch
import torch.fx
from timm.layers import ConvMlp
from torch import Tensor, nn

from . import ragged
from .attention import Attention
from .layout import with_channels_last_gradient
from .maxvit import MaxViT, stacked
from .mbconv import Halving, ImageDropPath, MBConv, Same, Shortcut
from .partition import Partition
from .partition_cache import find_partitions
from .ragged import Places
from .recompute import run_block
from .sizes import ceil_div
from .styles import EXPANSION, AttentionStyle, MaxViTConfig
from .weight_init import init_transformer

_CONV_STAGES = 2  # the first ones

# A traced graph calls it whole: what it does depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("find_partitions")


class MapAttention(Attention):
    """Attention over a map (B, C, H, W), which may change its width."""

    def __init__(self, in_chs: int, out_chs: int, table_window: tuple[int, int], style: AttentionStyle, **dd):
        dim = out_chs if style.attends_wide else in_chs
        qkv, proj = nn.Conv2d(in_chs, 3 * dim, 1, **dd), nn.Conv2d(dim, out_chs, 1, **dd)
        super().__init__(dim, qkv, proj, table_window, style, **dd)

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        out = self.attend(self.qkv(x).permute(0, 2, 3, 1), partition, places)
        return self.proj(out.permute(0, 3, 1, 2))


class TransformerBlock(nn.Module):
    """Pre-norm attention and MLP: (B, in, H, W) -> (B, out, ceil(H / stride), ceil(W / stride))."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int,
        table_window: tuple[int, int],
        cfg: MaxViTConfig,
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        style, pool = cfg.attention, cfg.conv.pool
        self.shortcut, self.norm1, self.down = Same(), style.map_norm(in_chs, **dd), Same()
        if stride == 2:
            has_conv = in_chs != out_chs
            expand = nn.Conv2d(in_chs, out_chs, 1, bias=style.shortcut_bias, **dd) if has_conv else nn.Identity()
            self.shortcut, self.down = Shortcut(pool, expand), Halving(pool)
            self.norm1 = nn.Sequential(OrderedDict(norm=self.norm1))  # timm's name of it
        self.attn = MapAttention(in_chs, out_chs, table_window, style, **dd)
        self.ls1 = style.map_scale(out_chs, **dd)
        self.drop_path1 = ImageDropPath(drop_path)
        self.norm2 = style.map_norm(out_chs, **dd)
        self.mlp = ConvMlp(out_chs, EXPANSION * out_chs, act_layer=style.activation(), **dd)
        self.ls2 = style.map_scale(out_chs, **dd)
        self.drop_path2 = ImageDropPath(drop_path)

    def init_weights(self) -> None:
        init_transformer(self)

    def forward(self, x: Tensor, partition: Partition, places: Places | None = None) -> Tensor:
        shortcut = self.shortcut(x, places)
        x = self.attn(self.down(self.norm1(x), places), partition, places)
        x = shortcut + self.drop_path1(self.ls1(x), places)
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))), places)


class ConvStage(nn.Module):
    """MBConv blocks, the first of stride 2."""

    def __init__(self, in_chs: int, out_chs: int, drop_paths: list[float], cfg: MaxViTConfig, **dd):
        super().__init__()
        self.grad_checkpointing: bool | str = False
        self.blocks = stacked(partial(MBConv, style=cfg.conv, **dd), in_chs, out_chs, drop_paths)

    def forward(self, x: Tensor, window_size: tuple[int, int], places: Places | None = None) -> Tensor:
        for block in self.blocks:
            if torch.jit.is_scripting():
                x = block(x)
            else:
                x = run_block(block, self.grad_checkpointing, x, places)
        return with_channels_last_gradient(x)


class TransformerStage(nn.Module):
    """Transformer blocks, the first of stride 2. Each attends to the whole map, whatever ``window_size`` is."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        drop_paths: list[float],
        table_window: tuple[int, int],
        cfg: MaxViTConfig,
        **dd,
    ):
        super().__init__()
        self.grad_checkpointing: bool | str = False
        make_block = partial(TransformerBlock, table_window=table_window, cfg=cfg, **dd)
        self.blocks = stacked(make_block, in_chs, out_chs, drop_paths)

    def forward(self, x: Tensor, window_size: tuple[int, int], places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            height, width = ceil_div(x.shape[2], 2), ceil_div(x.shape[3], 2)
            partition, _ = find_partitions(x, height, width, (height, width))
        else:
            partition, _ = ragged.find_joined_partitions(x, places._replace(windows=places.sizes))
        for block in self.blocks:
            if torch.jit.is_scripting():
                x = block(x, partition)
            else:
                x = run_block(block, self.grad_checkpointing, x, partition, places)
        return with_channels_last_gradient(x)


class CoAtNet(MaxViT):
    """CoAtNet classifier and feature extractor for images of any size, with MaxViT's interface.

    Takes MaxViT's arguments but for the window: attention is over the whole map. Memory for its scores grows with the
    square of the image's area.

    Raises:
        ValueError: a ``window_size``.
    """

    def _make_stage(self, index: int, in_chs: int, drop_paths: list[float], cfg: MaxViTConfig, **dd) -> nn.Module:
        dim = cfg.dims[index]
        if index < _CONV_STAGES:
            return ConvStage(in_chs, dim, drop_paths, cfg, **dd)
        stride = 4 * 2**index
        table_window = ceil_div(self.img_size[0], stride), ceil_div(self.img_size[1], stride)
        return TransformerStage(in_chs, dim, drop_paths, table_window, cfg, **dd)

    @torch.jit.ignore
    def set_input_size(
        self, img_size: int | tuple[int, int] | None = None, window_size: int | tuple[int, int] | str | None = None
    ) -> None:
        """Records the image size; nothing else depends on it."""
        if window_size is not None:
            raise ValueError(f"window_size={window_size!r}: CoAtNet attends to the whole map, leave it out")
        super().set_input_size(img_size)
