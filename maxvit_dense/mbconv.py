"""Convolution half of the network: stem and MBConv, on maps (B, C, H, W) in channels-last memory.

Every stride-2 step maps n to ceil(n / 2), by default with TensorFlow SAME padding (MaxViT's official code,
google-research/maxvit ``models/maxvit.py``), so any size is accepted and odd sizes equal the original.

``places`` is None in an ordinary batch; for images of different sizes, ``ragged.py`` tells what it is.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import DropPath, SqueezeExcite, drop_path
from torch import Tensor, nn

from . import folded, ragged
from .layout import channels_last
from .ragged import Places
from .sizes import ceil_div, is_multiple

EXPANSION = 4  # of the output width
SE_RATIO = 0.25  # of the output width
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01  # TensorFlow's 0.99


@dataclass(frozen=True)
class ConvStyle:
    """Where trainings of MaxViT differ in their convolutions; the defaults are the official code's and timm's.

    torchvision's ``maxvit_t`` (pytorch/vision ``torchvision/models/maxvit.py``) has all three the other way.

    Attributes:
        same_padding: a 3x3 window of stride 2 starts as TensorFlow's SAME padding has it, and shortcuts average 2x2
            real positions. If False it starts one zero before the map, and shortcuts average 3x3, zeros included.
        shortcut_conv_always: the shortcut of a stride-2 MBConv has its 1x1 convolution even if the width stays.
        stem_bias: the first convolution has a bias.
    """

    same_padding: bool = True
    shortcut_conv_always: bool = False
    stem_bias: bool = True


OFFICIAL_STYLE = ConvStyle()


def _odd(length: int) -> int:
    """length % 2, in a form from which symbolic arithmetic derives that padding and halving give ceil(length / 2)."""
    return 2 * ceil_div(length, 2) - length


def pad_same(x: Tensor) -> Tensor:
    """Zeros around a map, as TensorFlow's SAME padding has them for a 3x3 window of stride 2.

    n % 2 before the map and one after it. Written as arithmetic on the size, without a branch on it, so that tracing,
    export and compilation keep sizes free.
    """
    return F.pad(x, (_odd(x.shape[3]), 1, _odd(x.shape[2]), 1))


def halving_avg_pool2d(x: Tensor, same_padding: bool = True) -> Tensor:
    """Average of stride 2, n to ceil(n / 2).

    With SAME padding over 2x2 real positions, at an odd edge fewer; else over 3x3, zeros around the map counted.
    """
    if not same_padding:
        return F.avg_pool2d(x, 3, 2, 1)
    height, width = x.shape[2], x.shape[3]
    if not (is_multiple(height, 2) and is_multiple(width, 2)):
        # An edge counted twice weighs as much as one counted alone.
        x = F.pad(x, (0, _odd(width), 0, _odd(height)), mode="replicate")
    return F.avg_pool2d(x, 2)


def mean_of_map(x: Tensor) -> Tensor:
    """Mean over all positions, (B, C, H, W) -> (B, C, 1, 1).

    As a sum, whose gradient is a view; that of a mean is a whole map in another memory layout.
    """
    precise = x.dtype if x.dtype == torch.float64 else torch.float32
    return (x.sum((2, 3), keepdim=True, dtype=precise) / (x.shape[2] * x.shape[3])).to(x.dtype)


# A traced graph calls these whole: what they do depends on sizes and dtypes, which symbolic tracing does not know.
torch.fx.wrap("halving_avg_pool2d")
torch.fx.wrap("mean_of_map")


def _batch_norm(channels: int, **dd) -> nn.BatchNorm2d:
    # A plain BatchNorm2d with the activation beside it: PyTorch's SyncBN conversion would drop one fused into it.
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM, **dd)


class ImageDropPath(DropPath):
    """Stochastic depth: whole images go without the branch."""

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            return drop_path(x, self.drop_prob, self.training, self.scale_by_keep)
        return ragged.scale_images(x, super().forward(x.new_ones(len(places.items), 1)), places)


def init_convs(module: nn.Module) -> None:
    """Fan-out normal weights and zero biases for all convolutions (timm's ``vit_eff`` scheme for these networks)."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


class Stem(nn.Module):
    """Two 3x3 convolutions, the first of stride 2: (B, in, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""

    def __init__(
        self,
        in_chans: int,
        dim: int,
        act_layer: Callable[[], nn.Module],
        style: ConvStyle = OFFICIAL_STYLE,
        **dd,
    ):
        super().__init__()
        self.same_padding = style.same_padding
        padding = 0 if style.same_padding else 1
        self.conv1 = nn.Conv2d(in_chans, dim, 3, stride=2, padding=padding, bias=style.stem_bias, **dd)
        self.norm1 = _batch_norm(dim, **dd)
        self.act1 = act_layer()
        self.conv2 = nn.Conv2d(dim, dim, 3, padding=1, **dd)

    def init_weights(self) -> None:
        init_convs(self)

    def fuse(self) -> nn.Module:
        """The same function without BatchNorm, for inference; called by ``timm.utils.reparameterize_model``."""
        return folded.fold_stem(self)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            # The whole network keeps this memory layout; a one-channel image alone cannot tell the two layouts apart,
            # so the first map is what has to be set right.
            x = channels_last(x)
            x = channels_last(self.conv1(pad_same(x) if self.same_padding else x))
            return self.conv2(self.act1(self.norm1(x)))
        x = ragged.convolve(self.conv1, x, places, self.same_padding)
        return ragged.convolve(self.conv2, self.act1(self.norm1(x)), places)


class SqueezeGate(SqueezeExcite):
    """timm's squeeze-and-excitation, (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.act.inplace = False  # selective checkpointing may have kept what it would write over

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            return x * self.gate(self.fc2(self.act(self.fc1(mean_of_map(x)))))
        gates = self.gate(self.fc2(self.act(self.fc1(ragged.means_of_images(x, places)))))
        return ragged.scale_images(x, gates.flatten(1), places)


class Shortcut(nn.Module):
    """Shortcut of a stride-2 MBConv: an average, then a 1x1 convolution if widths differ (or always)."""

    def __init__(self, in_chs: int, out_chs: int, style: ConvStyle, **dd):
        super().__init__()
        self.same_padding = style.same_padding
        has_conv = in_chs != out_chs or style.shortcut_conv_always
        self.expand = nn.Conv2d(in_chs, out_chs, 1, **dd) if has_conv else nn.Identity()

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            return self.expand(halving_avg_pool2d(x, self.same_padding))
        return self.expand(ragged.halving_average(x, places, self.same_padding))


class NoShortcut(nn.Identity):
    """The map itself."""

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        return x


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation, pre-normalised (paper, section 3.3 and A.1).

    (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int,
        act_layer: Callable[[], nn.Module],
        style: ConvStyle = OFFICIAL_STYLE,
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        mid_chs = EXPANSION * out_chs
        self.pads_same = stride == 2 and style.same_padding
        padding = 0 if self.pads_same else 1
        self.shortcut = Shortcut(in_chs, out_chs, style, **dd) if stride == 2 else NoShortcut()
        self.pre_norm = _batch_norm(in_chs, **dd)
        self.conv1_1x1 = nn.Conv2d(in_chs, mid_chs, 1, bias=False, **dd)
        self.norm1 = _batch_norm(mid_chs, **dd)
        self.act1 = act_layer()
        self.conv2_kxk = nn.Conv2d(mid_chs, mid_chs, 3, stride, padding, groups=mid_chs, bias=False, **dd)
        self.norm2 = _batch_norm(mid_chs, **dd)
        self.act2 = act_layer()
        self.se = SqueezeGate(mid_chs, rd_channels=int(SE_RATIO * out_chs), act_layer=nn.SiLU, **dd)
        self.conv3_1x1 = nn.Conv2d(mid_chs, out_chs, 1, **dd)
        self.drop_path = ImageDropPath(drop_path)

    def init_weights(self) -> None:
        init_convs(self)

    def fuse(self) -> nn.Module:
        """The same function without BatchNorm, for inference; called by ``timm.utils.reparameterize_model``."""
        return folded.fold_mbconv(self)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        shortcut = self.shortcut(x, places)
        x = self.act1(self.norm1(self.conv1_1x1(self.pre_norm(x))))
        if torch.jit.is_scripting() or places is None:
            x = self.conv2_kxk(pad_same(x) if self.pads_same else x)
        else:
            x = ragged.convolve(self.conv2_kxk, x, places, self.pads_same)
        x = self.se(self.act2(self.norm2(x)), places)
        return shortcut + self.drop_path(self.conv3_1x1(x), places)
