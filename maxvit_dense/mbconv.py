"""Convolution half of the network: stem and MBConv, on maps (B, C, H, W) in channels-last memory.

Every stride-2 step maps n to ceil(n / 2), by default with TensorFlow SAME padding (MaxViT's official code,
google-research/maxvit ``models/maxvit.py``), so any size is accepted and odd sizes equal the original.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.fx
import torch.nn.functional as F
from timm.layers import DropPath, SqueezeExcite
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .ops.cpu_inference import is_compiling, is_cpu_inference, whole_step
from .ops.fused import add_to, conv_gelu, expand_padded, gelu_algorithm
from .sizes import ceil_div, is_multiple

EXPANSION = 4  # of the output width
SE_RATIO = 0.25  # of the output width
BATCH_NORM_EPS = 1e-3
BATCH_NORM_MOMENTUM = 0.01  # TensorFlow's 0.99


def _odd(length: int) -> int:
    """length % 2, in a form from which symbolic arithmetic derives that padding and halving give ceil(length / 2)."""
    return 2 * ceil_div(length, 2) - length


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


def _halving_padding(x: Tensor, same_padding: bool) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) zeros around a map, so that a 3x3 window of stride 2 takes n to ceil(n / 2).

    TensorFlow's SAME padding has n % 2 of them before the map and one after it. Padding by 1 on each side, less the
    zeros that no window reaches, has it the other way round. It is written as arithmetic on the size, without a branch
    on it, so that tracing, export and compilation keep sizes free.
    """
    height, width = _odd(x.shape[2]), _odd(x.shape[3])
    return (width, 1, height, 1) if same_padding else (1, width, 1, height)


class HalvingConv2d(nn.Conv2d):
    """3x3 convolution of stride 2: n to ceil(n / 2)."""

    def __init__(
        self, in_channels: int, out_channels: int, same_padding: bool = True, groups: int = 1, bias: bool = True, **dd
    ):
        super().__init__(in_channels, out_channels, kernel_size=3, stride=2, groups=groups, bias=bias, **dd)
        self.same_padding = same_padding

    def edges(self, x: Tensor) -> tuple[int, int, int, int]:
        """(left, right, top, bottom) zeros that it puts around a map."""
        return _halving_padding(x, self.same_padding)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(F.pad(x, self.edges(x)), self.weight, self.bias)


class PointwiseConv2d(nn.Conv2d):
    """1x1 convolution; for the compiler it is a linear layer.

    The sizes from which PyTorch takes one CPU convolution rather than another would each become a compiled program.
    """

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True, **dd):
        super().__init__(in_channels, out_channels, kernel_size=1, bias=bias, **dd)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and is_compiling():
            return F.linear(x.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)
        return self._conv_forward(x, self.weight, self.bias)


def _conv3x3(
    in_channels: int, out_channels: int, stride: int, style: ConvStyle, groups: int = 1, bias: bool = True, **dd
) -> nn.Conv2d:
    if stride == 2:
        return HalvingConv2d(in_channels, out_channels, style.same_padding, groups=groups, bias=bias, **dd)
    return nn.Conv2d(in_channels, out_channels, 3, padding=1, groups=groups, bias=bias, **dd)


def _batch_norm(channels: int, **dd) -> nn.BatchNorm2d:
    # A plain BatchNorm2d with the activation beside it: PyTorch's SyncBN conversion would drop one fused into it.
    return nn.BatchNorm2d(channels, eps=BATCH_NORM_EPS, momentum=BATCH_NORM_MOMENTUM, **dd)


def init_convs(module: nn.Module) -> None:
    """Fan-out normal weights and zero biases for all convolutions (timm's ``vit_eff`` scheme for these networks)."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def _halving_avg_pool2d(x: Tensor, same_padding: bool) -> Tensor:
    if not same_padding:
        return F.avg_pool2d(F.pad(x, _halving_padding(x, same_padding)), 3, 2)
    height, width = x.shape[2], x.shape[3]
    if not (is_multiple(height, 2) and is_multiple(width, 2)):
        # An edge counted twice weighs as much as one counted alone.
        x = F.pad(x, (0, _odd(width), 0, _odd(height)), mode="replicate")
    return F.avg_pool2d(x, 2)


def _fake_halving_avg_pool2d(x, same_padding) -> Tensor:
    out = x.new_empty(x.shape[0], x.shape[1], ceil_div(x.shape[2], 2), ceil_div(x.shape[3], 2))
    return torch.empty_like(out, memory_format=torch.channels_last)


_whole_halving_avg_pool2d = whole_step(_fake_halving_avg_pool2d)(_halving_avg_pool2d)


def halving_avg_pool2d(x: Tensor, same_padding: bool = True) -> Tensor:
    """Average of stride 2, n to ceil(n / 2), in channels-last memory.

    With SAME padding over 2x2 real positions, at an odd edge fewer; else over 3x3, zeros around the map counted.
    """
    if torch.jit.is_scripting():
        return _halving_avg_pool2d(x, same_padding)
    else:  # spelled out: TorchScript must not compile this line
        return _whole_halving_avg_pool2d(x, same_padding)


# A traced graph calls it whole: what it does depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("halving_avg_pool2d")
torch.fx.wrap("_mean_of_map")


@torch.no_grad()
def _fold_bn_after(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    conv.weight, conv.bias = fuse_conv_bn_weights(
        conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )


@torch.no_grad()
def _fold_bn_before(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> None:
    """Exact for a convolution without padding only: padding zeros would have to be normalised too."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    bias = (conv.weight * shift[None, :, None, None]).sum(dim=(1, 2, 3))
    conv.bias = nn.Parameter(bias if conv.bias is None else conv.bias + bias)
    conv.weight = nn.Parameter(conv.weight * scale[None, :, None, None])


@torch.jit.unused
def keep_gradient_layout(x: Tensor) -> Tensor:
    """Has the gradient of a map arrive in channels-last memory, as the map itself is, whatever the loss made of it.

    Residual sums would carry another layout through all layers, and each would copy it.
    """
    plain = type(x) is Tensor and not torch.compiler.is_compiling()  # no symbol of a traced graph
    if plain and torch.is_grad_enabled() and x.requires_grad:
        x.register_hook(lambda grad: grad.contiguous(memory_format=torch.channels_last))
    return x


class Stem(nn.Module):
    """Two 3x3 convolutions, the first of stride 2: (B, in, H, W) -> (B, C, ceil(H/2), ceil(W/2))."""

    def __init__(
        self,
        in_chans: int,
        dim: int,
        act_layer: Callable[[], nn.Module],
        style: ConvStyle = OFFICIAL_STYLE,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        self.conv1 = _conv3x3(in_chans, dim, stride=2, style=style, bias=style.stem_bias, **dd)
        self.norm1 = _batch_norm(dim, **dd)
        self.act1 = act_layer()
        self.conv2 = _conv3x3(dim, dim, stride=1, style=style, **dd)
        self.gelu = ""  # formula for fused operators, set when folded

    def init_weights(self) -> None:
        init_convs(self)

    def reparameterize(self) -> None:
        """Folds BatchNorm into the convolution, for inference; called by ``timm.utils.reparameterize_model``."""
        _fold_bn_after(self.conv1, self.norm1)
        self.norm1 = nn.Identity()
        self.gelu = gelu_algorithm(self.act1)

    @torch.jit.unused
    def _forward_fused(self, x: Tensor) -> Tensor:
        x = conv_gelu(x, self.conv1, self.gelu, self.conv1.edges(x))
        return self.conv2(x.contiguous(memory_format=torch.channels_last))

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and self.gelu != "" and is_cpu_inference(x):
            return self._forward_fused(x)
        # The whole network keeps this memory layout; a one-channel image alone cannot tell the two layouts apart,
        # so the first map is what has to be set right.
        x = self.conv1(x.contiguous(memory_format=torch.channels_last))
        x = x.contiguous(memory_format=torch.channels_last)
        return self.conv2(self.act1(self.norm1(x)))


def _mean_of_map(x: Tensor) -> Tensor:
    """Mean over all positions, (B, C, H, W) -> (B, C, 1, 1).

    As a sum, whose gradient is a view; that of a mean is a whole map in another memory layout. The compiler, which
    fuses either, makes one program for sums over up to 4,096 positions and one for longer ones, so it gets two means.
    """
    if not torch.jit.is_scripting() and is_compiling():
        return x.mean(3, keepdim=True).mean(2, keepdim=True)
    precise = x.dtype if x.dtype == torch.float64 else torch.float32
    return (x.sum((2, 3), keepdim=True, dtype=precise) / (x.shape[2] * x.shape[3])).to(x.dtype)


class SqueezeGate(SqueezeExcite):
    """timm's squeeze-and-excitation up to its gate, (B, C, H, W) -> (B, C, 1, 1)."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.act.inplace = False  # selective checkpointing may have kept what it would write over

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(self.fc2(self.act(self.fc1(_mean_of_map(x)))))


class Shortcut(nn.Module):
    """Shortcut of a stride-2 MBConv: an average, then a 1x1 convolution if widths differ (or always)."""

    def __init__(self, in_chs: int, out_chs: int, style: ConvStyle, device=None, dtype=None):
        super().__init__()
        self.same_padding = style.same_padding
        has_conv = in_chs != out_chs or style.shortcut_conv_always
        dd = {"device": device, "dtype": dtype}
        self.expand = PointwiseConv2d(in_chs, out_chs, **dd) if has_conv else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.expand(halving_avg_pool2d(x, self.same_padding))


class MBConv(nn.Module):
    """Inverted bottleneck with squeeze-and-excitation, pre-normalised (paper, section 3.3 and A.1).

    (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).

    Args:
        gate_weight: multiply the gate into the weight of the last convolution, once an image, rather than into the
            map. The result is the same; it is the cheaper way where the map has more positions than outputs.
    """

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int,
        act_layer: Callable[[], nn.Module],
        style: ConvStyle = OFFICIAL_STYLE,
        drop_path: float = 0.0,
        gate_weight: bool = False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        dd = {"device": device, "dtype": dtype}
        mid_chs = EXPANSION * out_chs
        self.gate_weight = gate_weight
        self.gelu = ""  # formula for fused operators, set when folded
        self.shortcut = Shortcut(in_chs, out_chs, style, **dd) if stride == 2 else nn.Identity()
        self.pre_norm = _batch_norm(in_chs, **dd)
        self.conv1_1x1 = PointwiseConv2d(in_chs, mid_chs, bias=False, **dd)
        self.norm1 = _batch_norm(mid_chs, **dd)
        self.act1 = act_layer()
        self.conv2_kxk = _conv3x3(mid_chs, mid_chs, stride, style, groups=mid_chs, bias=False, **dd)
        self.norm2 = _batch_norm(mid_chs, **dd)
        self.act2 = act_layer()
        self.se = SqueezeGate(mid_chs, rd_channels=int(SE_RATIO * out_chs), act_layer=nn.SiLU, **dd)
        self.conv3_1x1 = PointwiseConv2d(mid_chs, out_chs, **dd)
        self.drop_path = DropPath(drop_path) if drop_path > 0.0 else nn.Identity()

    def init_weights(self) -> None:
        init_convs(self)

    def reparameterize(self) -> None:
        """Folds all three BatchNorms, for inference; called by ``timm.utils.reparameterize_model``.

        From then on CPU inference fuses activations into the convolutions before them (``ops.fused``).
        """
        _fold_bn_before(self.pre_norm, self.conv1_1x1)
        _fold_bn_after(self.conv1_1x1, self.norm1)
        _fold_bn_after(self.conv2_kxk, self.norm2)
        self.pre_norm, self.norm1, self.norm2 = nn.Identity(), nn.Identity(), nn.Identity()
        self.gelu = gelu_algorithm(self.act1)

    def _project(self, x: Tensor) -> Tensor:
        """Last convolution of the gated map, (B, mid_chs, H, W) -> (B, out_chs, H, W)."""
        gate = self.se(x)
        if not self.gate_weight:
            return self.conv3_1x1(x * gate)
        weight = gate.flatten(1).unsqueeze(1) * self.conv3_1x1.weight.flatten(1)  # (B, out, mid)
        tokens = x.permute(0, 2, 3, 1).reshape(x.shape[0], x.shape[2] * x.shape[3], x.shape[1])
        bias = self.conv3_1x1.bias
        assert bias is not None  # for TorchScript
        tokens = torch.baddbmm(bias, tokens, weight.transpose(1, 2))
        return tokens.view(x.shape[0], x.shape[2], x.shape[3], weight.shape[1]).permute(0, 3, 1, 2)

    @torch.jit.unused
    def _forward_fused(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        if isinstance(self.conv2_kxk, HalvingConv2d):
            x = expand_padded(x, self.conv1_1x1, self.gelu, self.conv2_kxk.edges(x))
        else:
            x = conv_gelu(x, self.conv1_1x1, self.gelu)
        x = conv_gelu(x, self.conv2_kxk, self.gelu)
        return add_to(self._project(x), shortcut)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.jit.is_scripting() and self.gelu != "" and is_cpu_inference(x):
            return self._forward_fused(x)
        shortcut = self.shortcut(x)
        x = self.act1(self.norm1(self.conv1_1x1(self.pre_norm(x))))
        x = self.act2(self.norm2(self.conv2_kxk(x)))
        return shortcut + self.drop_path(self._project(x))
