"""Convolution half of the network: stem and MBConv, on maps (B, C, H, W) in channels-last memory.

Every stride-2 step maps n to ceil(n / 2), by default with TensorFlow SAME padding (MaxViT's official code,
google-research/maxvit ``models/maxvit.py``), so any size is accepted and odd sizes equal the original.

``places`` is None in an ordinary batch; for images of different sizes, ``ragged.py`` tells what it is.
"""

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import DropPath, SqueezeExcite, drop_path, get_act_layer
from torch import Tensor, nn

from . import folded, ragged
from .layout import channels_last
from .ragged import Places
from .sizes import ceil_div, is_exporting, is_multiple
from .styles import OFFICIAL_CONV, ConvStyle
from .weight_init import init_convs


def _odd(length: int) -> int:
    """length % 2, in a form from which symbolic arithmetic derives that padding and halving give ceil(length / 2)."""
    return 2 * ceil_div(length, 2) - length


def pad_same(x: Tensor) -> Tensor:
    """Zeros around a map, as TensorFlow's SAME padding has them for a 3x3 window of stride 2.

    n % 2 before the map and one after it. Written as arithmetic on the size, without a branch on it, so that tracing,
    export and compilation keep sizes free.
    """
    return F.pad(x, (_odd(x.shape[3]), 1, _odd(x.shape[2]), 1))


def halve(x: Tensor, pool: str) -> Tensor:
    """Pooling of stride 2, n to ceil(n / 2).

    "mean2" averages 2x2 real positions, at an odd edge fewer; "mean3" 3x3, zeros around the map counted; "max3" takes
    the largest of 3x3 real ones.
    """
    if pool == "mean3":
        return F.avg_pool2d(x, 3, 2, 1)
    if pool == "max3":
        return F.max_pool2d(x, 3, 2, 1)
    height, width = x.shape[2], x.shape[3]
    if is_multiple(height, 2) and is_multiple(width, 2):
        return F.avg_pool2d(x, 2)
    if not torch.jit.is_scripting():
        if torch.compiler.is_compiling() and not is_exporting():
            return _mean_of_real(x)
    # An edge counted twice weighs as much as one counted alone.
    return F.avg_pool2d(F.pad(x, (0, _odd(width), 0, _odd(height)), mode="replicate"), 2)


@torch.jit.unused
def _mean_of_real(x: Tensor) -> Tensor:
    """The same in words that Inductor compiles: it lays out the gradient of "replicate" otherwise than the CPU's kernel
    does (PyTorch 2.14)."""
    down, right = _odd(x.shape[2]), _odd(x.shape[3])
    x = F.avg_pool2d(F.pad(x, (0, right, 0, down)), 2)
    last_row, last_col = (torch.arange(n, device=x.device) == n - 1 for n in x.shape[2:])
    return x * (1 + down * last_row).unsqueeze(1) * (1 + right * last_col)


def mean_of_map(x: Tensor) -> Tensor:
    """Mean over all positions, (B, C, H, W) -> (B, C, 1, 1).

    As a sum, whose gradient is a view; that of a mean is a whole map in another memory layout.
    """
    precise = x.dtype if x.dtype == torch.float64 else torch.float32
    return (x.sum((2, 3), keepdim=True, dtype=precise) / (x.shape[2] * x.shape[3])).to(x.dtype)


# A traced graph calls these whole: what they do depends on sizes and dtypes, which symbolic tracing does not know.
torch.fx.wrap("halve")
torch.fx.wrap("mean_of_map")


class ImageDropPath(DropPath):
    """Stochastic depth: whole images go without the branch."""

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            return drop_path(x, self.drop_prob, self.training, self.scale_by_keep)
        return ragged.scale_images(x, super().forward(x.new_ones(len(places.items), 1)), places)


class Stem(nn.Module):
    """Two 3x3 convolutions, the first of stride 2: (B, in, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""

    def __init__(self, in_chans: int, mid_dim: int, dim: int, style: ConvStyle = OFFICIAL_CONV, **dd):
        super().__init__()
        self.same_padding = style.same_padding
        padding = 0 if style.same_padding else 1
        self.conv1 = nn.Conv2d(in_chans, mid_dim, 3, stride=2, padding=padding, bias=style.stem_biases[0], **dd)
        self.norm1 = style.norm(mid_dim, **dd)
        self.act1 = style.activation()
        self.conv2 = nn.Conv2d(mid_dim, dim, 3, padding=1, bias=style.stem_biases[1], **dd)

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


class Same(nn.Identity):
    """The map itself, where a style has a layer less."""

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        return x


class Halving(nn.Module):
    """:func:`halve` as a layer."""

    def __init__(self, pool: str):
        super().__init__()
        self.pool = pool

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            return halve(x, self.pool)
        return ragged.halve(x, places, self.pool)


class Shortcut(nn.Module):
    """Shortcut of a stride-2 block: its map halved, then a 1x1 convolution, if there is one."""

    def __init__(self, pool: str, expand: nn.Module):
        super().__init__()
        self.pool = Halving(pool)
        self.expand = expand

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        return self.expand(self.pool(x, places))


def _shortcut(in_chs: int, out_chs: int, style: ConvStyle, **dd) -> Shortcut:
    has_conv = in_chs != out_chs or style.shortcut_conv_always
    expand = nn.Conv2d(in_chs, out_chs, 1, bias=style.output_bias, **dd) if has_conv else nn.Identity()
    return Shortcut(style.pool, expand)


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation, pre-normalised (paper, section 3.3 and A.1).

    (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int,
        style: ConvStyle = OFFICIAL_CONV,
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        mid_chs, squeezed_chs = style.widths(in_chs, out_chs)
        conv_stride = 1 if style.pools_first else stride
        self.pads_same = conv_stride == 2 and style.same_padding
        self.shortcut = _shortcut(in_chs, out_chs, style, **dd) if stride == 2 else Same()
        self.pre_norm = style.norm(in_chs, **dd)
        self.pre_act = style.activation() if style.pre_norm_act else nn.Identity()
        self.down = Halving("mean2") if stride > conv_stride else Same()
        self.conv1_1x1 = nn.Conv2d(in_chs, mid_chs, 1, bias=False, **dd)
        self.norm1 = style.norm(mid_chs, **dd)
        self.act1 = style.activation()
        padding = 0 if self.pads_same else 1
        self.conv2_kxk = nn.Conv2d(mid_chs, mid_chs, 3, conv_stride, padding, groups=mid_chs, bias=False, **dd)
        gate = SqueezeGate(mid_chs, rd_channels=squeezed_chs, act_layer=get_act_layer(style.squeeze_act), **dd)
        self.se_early = gate if style.squeezes_early else Same()
        self.norm2 = style.norm(mid_chs, **dd)
        self.act2 = style.activation()
        self.se = Same() if style.squeezes_early else gate
        self.conv3_1x1 = nn.Conv2d(mid_chs, out_chs, 1, bias=style.output_bias, **dd)
        self.drop_path = ImageDropPath(drop_path)

    def init_weights(self) -> None:
        init_convs(self)

    def fuse(self) -> nn.Module:
        """The same function without BatchNorm, for inference; called by ``timm.utils.reparameterize_model``."""
        return folded.fold_mbconv(self)

    def forward(self, x: Tensor, places: Places | None = None) -> Tensor:
        shortcut = self.shortcut(x, places)
        x = self.down(self.pre_act(self.pre_norm(x)), places)
        x = self.act1(self.norm1(self.conv1_1x1(x)))
        if torch.jit.is_scripting() or places is None:
            x = self.conv2_kxk(pad_same(x) if self.pads_same else x)
        else:
            x = ragged.convolve(self.conv2_kxk, x, places, self.pads_same)
        x = self.act2(self.norm2(self.se_early(x, places)))
        return shortcut + self.drop_path(self.conv3_1x1(self.se(x, places)), places)
