"""BatchNorm folded into the convolution beside it, for inference: the same function with fewer passes over a map.

``timm.utils.reparameterize_model`` calls ``fuse()`` of stem and MBConv, which is this. What stays are ordinary
convolutions, and ``nn.Identity`` where a norm was. Folding what is folded changes nothing.
"""

import torch
from torch import nn


def fold_stem(stem: nn.Module) -> nn.Module:
    """Folds the stem's BatchNorm into its first convolution, in place."""
    stem.norm1 = _fold_after(stem.conv1, stem.norm1)
    return stem


def fold_mbconv(block: nn.Module) -> nn.Module:
    """Folds those of an MBConv's three BatchNorms that have a convolution beside them into it, in place."""
    if isinstance(block.pre_act, nn.Identity):  # a mean of real positions between them changes nothing
        block.pre_norm = _fold_before(block.pre_norm, block.conv1_1x1)
    block.norm1 = _fold_after(block.conv1_1x1, block.norm1)
    if isinstance(block.se_early, nn.Identity):
        block.norm2 = _fold_after(block.conv2_kxk, block.norm2)
    return block


def _is_folded(norm: nn.Module) -> bool:
    return isinstance(norm, nn.Identity)


def _scale_and_shift(norm: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """What BatchNorm multiplies by and adds in evaluation mode, (C,) each."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


def _replace(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> nn.Identity:
    """Gives a convolution new values; frozen ones stay frozen."""
    trained = conv.weight.requires_grad
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype), requires_grad=trained)
    conv.bias = nn.Parameter(bias.to(conv.weight.dtype), requires_grad=trained)
    return nn.Identity()


@torch.no_grad()
def _fold_after(conv: nn.Conv2d, norm: nn.Module) -> nn.Module:
    if _is_folded(norm):
        return norm
    scale, shift = _scale_and_shift(norm)
    bias = shift if conv.bias is None else shift + conv.bias * scale
    return _replace(conv, conv.weight * scale[:, None, None, None], bias)


@torch.no_grad()
def _fold_before(norm: nn.Module, conv: nn.Conv2d) -> nn.Module:
    """Exact for a convolution without padding only: padding zeros would have to be normalised too."""
    if _is_folded(norm):
        return norm
    scale, shift = _scale_and_shift(norm)
    bias = (conv.weight * shift[None, :, None, None]).sum(dim=(1, 2, 3))
    return _replace(conv, conv.weight * scale[None, :, None, None], bias if conv.bias is None else bias + conv.bias)
