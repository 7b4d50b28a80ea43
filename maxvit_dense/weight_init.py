"""Random weights that a new network starts from: timm's ``vit_eff`` scheme for these networks."""

import math

from torch import nn


def init_convs(module: nn.Module) -> None:
    """Fan-out normal weights and zero biases for all convolutions."""
    for conv in module.modules():
        if isinstance(conv, nn.Conv2d):
            fan_out = conv.kernel_size[0] * conv.kernel_size[1] * conv.out_channels // conv.groups
            nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
            if conv.bias is not None:
                nn.init.zeros_(conv.bias)


def init_transformer(module: nn.Module) -> None:
    """Xavier-uniform projections, near-zero MLP biases."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None and "mlp" in name:
                nn.init.normal_(layer.bias, std=1e-6)
            elif layer.bias is not None:
                nn.init.zeros_(layer.bias)
