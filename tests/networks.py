"""Small networks, weights and comparisons that the tests of the core share."""

import timm
import torch
from torch import Tensor, nn

from maxvit_dense.maxvit import MaxViT
from maxvit_dense.styles import MaxViTConfig

SMALL = MaxViTConfig(stem_dim=8, dims=(32, 32, 64, 64), depths=(1, 1, 2, 1))
# Weights that add a residual branch to the trunk.
_BRANCH_ENDS = ("conv3_1x1.weight", "attn.proj.weight", "mlp.fc2.weight")


def fill_with_noise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Puts noise in the place of every weight that starts as a constant or near zero: norms, biases, bias tables.

    Residual branches are damped, as training does too: an undamped random network of B's depth is chaotic (maps of
    1e4; 1e-14 at its input grows to 1e-5), so that float32 rounding alone makes two right ones differ.
    """
    generator = torch.Generator().manual_seed(seed)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=generator).to(like)

    with torch.no_grad():
        for name, value in network.named_parameters():
            if name.endswith("bias_table"):
                value.copy_(noise(value))
            elif value.dim() == 1:
                value.copy_(0.1 * noise(value) + (1 if "norm" in name and name.endswith("weight") else 0))
            elif name.endswith(_BRANCH_ENDS):
                value.mul_(0.3)
        for name, value in network.named_buffers():
            if name.endswith("running_mean"):
                value.copy_(0.1 * noise(value))
            elif name.endswith("running_var"):
                value.copy_(0.5 + 1.5 * torch.rand(value.shape, generator=generator).to(value))
    return network


def small_network(seed: int = 0, **kwargs) -> MaxViT:
    """A network of one or two narrow blocks a stage, in eval mode, weights and statistics all random."""
    torch.manual_seed(seed)
    kwargs = dict(num_classes=5) | kwargs
    return fill_with_noise(MaxViT(SMALL, **kwargs), seed).eval()


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest absolute difference; NaN anywhere gives NaN, which fails every comparison."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} is not {tuple(theirs.shape)}"
    return (ours - theirs).abs().max().item() if ours.numel() else 0.0


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference in units of the largest value."""
    return largest_difference(ours, theirs) / max(theirs.abs().max().item(), 1e-12)


def mini(**kwargs) -> nn.Module:
    return fill_with_noise(timm.create_model("maxvit_mini", num_classes=kwargs.pop("num_classes", 10), **kwargs)).eval()


def images(*size: int, batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.randn(batch, channels, *size)


def same_maps(ours: list, theirs: list, tolerance: float = 1e-5) -> bool:
    return len(ours) == len(theirs) and all(
        relative_difference(a, b) <= tolerance for a, b in zip(ours, theirs, strict=True)
    )
