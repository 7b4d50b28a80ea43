"""Channels-last memory, which maps and their gradients keep through the whole network."""

import torch
from torch import Tensor


def channels_last(x: Tensor) -> Tensor:
    """The same map in channels-last memory. In these words, for ``torch.func`` knows no memory formats."""
    return x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)


class _ChannelsLastGradient(torch.autograd.Function):
    """A map as it is, whose gradient arrives in channels-last memory too, whatever the loss made of it.

    Residual sums would carry another layout through all layers, and each would copy it.
    """

    generate_vmap_rule = True  # for torch.func

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:
        pass

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return channels_last(grad)

    @staticmethod
    def jvp(ctx, tangent: Tensor) -> Tensor:
        return tangent.view_as(tangent)


def with_channels_last_gradient(x: Tensor) -> Tensor:
    if torch.jit.is_scripting():
        return x
    else:  # spelled out: TorchScript must not compile these lines
        # Not for a symbol of a traced graph; compilers choose layouts themselves.
        traced = not isinstance(x, Tensor) or torch.jit.is_tracing() or torch.compiler.is_compiling()
        return x if traced or not torch.is_grad_enabled() else _ChannelsLastGradient.apply(x)
