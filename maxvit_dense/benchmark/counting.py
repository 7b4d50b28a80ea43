"""Arithmetic and least memory traffic of a network, counted without values (PyTorch's meta device)."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from .specs import Workload

TRAIN_FACTOR = 3  # a backward pass has two products for each of the forward pass


@dataclass(frozen=True)
class Work:
    """Of one call.

    Attributes:
        flops: floating-point operations (two for a multiply-add) of convolutions, linear layers and attention.
        outputs: numbers written by convolutions and linear layers.
        weights: parameters.
    """

    flops: int
    outputs: int
    weights: int

    def least_bytes(self, item_bytes: int) -> int:
        """Traffic of an eval call in bytes, if each output of a convolution or linear layer is written and read once.

        Attention scores, which fused kernels keep on chip, normalisation and activations are left out: a lower bound
        for every implementation that does not fuse two such layers, and whose outputs do not stay in a cache.
        """
        return item_bytes * (2 * self.outputs + self.weights)


class _OutputCounter(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        attention = (torch.ops.aten.bmm, torch.ops.aten.baddbmm)
        if func._overloadpacket in flop_registry and func._overloadpacket not in attention:
            self.elements += out.numel()
        return out


def count(network: nn.Module, workload: Workload) -> Work:
    """Counts one forward pass; three times its operations for training."""
    network = copy.deepcopy(network).to("meta").eval()
    images = torch.empty(workload.batch, 3, *workload.size, device="meta")
    # As two products: the counter has no formula for the CPU's fused attention.
    with FlopCounterMode(display=False) as flops, _OutputCounter() as outputs, sdpa_kernel(SDPBackend.MATH):
        with torch.no_grad():
            network(images)
    factor = TRAIN_FACTOR if workload.mode == "train" else 1
    weights = sum(p.numel() for p in network.parameters())
    return Work(factor * flops.get_total_flops(), outputs.elements, weights)
