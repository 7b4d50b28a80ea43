"""What a network is built by: its size, and where the published trainings of MaxViT and CoAtNet differ in more.

A style answers what the layers ask when they are built; no layer knows whose network it is in. The defaults are the
official code's (google-research/maxvit) and timm's ``*_tf_*``. Facts of the others: timm ``models/maxxvit.py``,
pytorch/vision ``torchvision/models/maxvit.py``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from timm.layers import LayerNorm2d, LayerScale, LayerScale2d, get_act_layer
from torch import nn

from .rel_pos import FlatRelPosBias, RelPosBias, RelPosMlp

HEAD_DIM = 32
EXPANSION = 4  # of MBConv and of the MLP behind attention

_REL_POS: dict[str, Callable[..., nn.Module]] = {"table": RelPosBias, "flat_table": FlatRelPosBias, "mlp": RelPosMlp}


@dataclass(frozen=True)
class ConvStyle:
    """Stem and MBConv.

    Attributes:
        act: timm's name of the activation.
        norm_eps, norm_momentum: of BatchNorm; TensorFlow's momentum 0.99 is 0.01 in PyTorch.
        same_padding: a 3x3 window of stride 2 starts as TensorFlow's SAME padding has it, else one zero before the map.
        pool: what halves a shortcut: "mean2", 2x2 real positions; "mean3", 3x3 with zeros counted; "max3", 3x3.
        pools_first: the block halves its map, by "mean2", before the expansion, rather than in the depthwise
            convolution.
        stem_biases: which of the stem's two convolutions have a bias.
        output_bias: the last 1x1 convolution and that of the shortcut have a bias.
        shortcut_conv_always: the shortcut of a stride-2 block has its 1x1 convolution even if the width stays.
        expands_input: the inner width is a multiple of the input's, not of the output's.
        squeeze: width of the squeeze over the output's; where ``expands_input``, over the inner one.
        squeeze_act: timm's name of its activation.
        squeezes_early: squeeze-and-excitation comes before the second norm, not behind it.
        pre_norm_act: the first norm has an activation too.
    """

    act: str = "gelu_tanh"
    norm_eps: float = 1e-3
    norm_momentum: float = 0.01
    same_padding: bool = True
    pool: str = "mean2"
    pools_first: bool = False
    stem_biases: tuple[bool, bool] = (True, True)
    output_bias: bool = True
    shortcut_conv_always: bool = False
    expands_input: bool = False
    squeeze: float = 0.25
    squeeze_act: str = "silu"
    squeezes_early: bool = False
    pre_norm_act: bool = False

    def norm(self, channels: int, **dd) -> nn.BatchNorm2d:
        # A plain BatchNorm2d with the activation beside it: PyTorch's SyncBN conversion would drop one fused into it.
        return nn.BatchNorm2d(channels, eps=self.norm_eps, momentum=self.norm_momentum, **dd)

    def activation(self) -> nn.Module:
        return get_act_layer(self.act)()

    def widths(self, in_chs: int, out_chs: int) -> tuple[int, int]:
        """(inner width, width of the squeeze) of an MBConv."""
        inner = EXPANSION * (in_chs if self.expands_input else out_chs)
        return inner, int(self.squeeze * (inner if self.expands_input else out_chs))


@dataclass(frozen=True)
class AttentionStyle:
    """Attention, the MLP behind it, and the norms of both.

    Attributes:
        act: timm's name of the MLP's activation.
        norm_eps: of the norms, the classifier's too.
        head_first: channels of queries, keys and values are ordered by head, then by kind; else by kind, then by head.
        rel_pos: biases by relative position: "table" (h, rows, cols), "flat_table" (rows * cols, h), or "mlp".
        rel_pos_dim: hidden width of that MLP.
        layer_scale: what the learned factors of the two branches start with; None for no such factors.
        batch_norm, attends_wide, shortcut_bias: of CoAtNet, whose attention changes width: norms are BatchNorm;
            attention has the output's width, not the input's; the shortcut's convolution has a bias.
    """

    act: str = "gelu_tanh"
    norm_eps: float = 1e-5
    head_first: bool = False
    rel_pos: str = "table"
    rel_pos_dim: int = 512
    layer_scale: float | None = None
    batch_norm: bool = False
    attends_wide: bool = False
    shortcut_bias: bool = True

    def activation(self) -> type[nn.Module]:
        return get_act_layer(self.act)

    def scale(self, channels: int, **dd) -> nn.Module:
        """Learned factors of a branch, of channels that come last."""
        return nn.Identity() if self.layer_scale is None else LayerScale(channels, self.layer_scale, **dd)

    def map_scale(self, channels: int, **dd) -> nn.Module:
        """The same, of channels that come second."""
        return nn.Identity() if self.layer_scale is None else LayerScale2d(channels, self.layer_scale, **dd)

    def map_norm(self, channels: int, **dd) -> nn.Module:
        """Norm of a map (B, C, H, W)."""
        return (nn.BatchNorm2d if self.batch_norm else LayerNorm2d)(channels, eps=self.norm_eps, **dd)

    def position_bias(self, num_heads: int, table_window: tuple[int, int], **dd) -> nn.Module:
        kind = _REL_POS[self.rel_pos]
        if kind is RelPosMlp:
            return RelPosMlp(num_heads, self.rel_pos_dim, **dd)
        return kind(num_heads, table_window, **dd)


OFFICIAL_CONV = ConvStyle()
OFFICIAL_ATTENTION = AttentionStyle()

@dataclass(frozen=True)
class MaxViTConfig:
    """Size of a network, and where its training differs from the official one.

    Attributes:
        stem_dim: channels of the stem.
        dims: channels of the four stages, multiples of the head size 32.
        depths: blocks of the four stages.
        stem_mid: channels between the stem's two convolutions; None for ``stem_dim``.
        conv, attention: styles of the two kinds of layers.
        head_hidden: the classifier normalises pooled features and has a hidden layer; else it is one layer on the mean
            of the normalised map.
        head_bias: the classifier's last layer has a bias.
    """

    stem_dim: int
    dims: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    stem_mid: int | None = None
    conv: ConvStyle = OFFICIAL_CONV
    attention: AttentionStyle = OFFICIAL_ATTENTION
    head_hidden: bool = True
    head_bias: bool = True


# torchvision's `maxvit_t`; two further differences are in its weights (weights/torchvision_layout.py).
TORCHVISION_CONV = ConvStyle(
    act="gelu", same_padding=False, pool="mean3", stem_biases=(False, True), shortcut_conv_always=True
)
TORCHVISION_ATTENTION = AttentionStyle(act="gelu")

# timm's `*_rw`, trained in PyTorch before the official code was known.
RW_CONV = ConvStyle(
    act="silu",
    norm_eps=1e-5,
    norm_momentum=0.1,
    same_padding=False,
    stem_biases=(False, False),
    output_bias=False,
    expands_input=True,
    squeeze=1 / 16,
)
RW_ATTENTION = AttentionStyle(act="gelu", norm_eps=1e-6, head_first=True, rel_pos="flat_table")
RMLP_ATTENTION = replace(RW_ATTENTION, rel_pos="mlp")
