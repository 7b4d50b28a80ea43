"""The dtype in which the operators compute."""

from functools import reduce

import torch
from torch import Tensor


def at_least_float32(*tensors: Tensor) -> list[Tensor]:
    """The tensors in one common dtype: float64 if any of them is, else float32.

    Half precision is widened: torchvision has no half kernels on the CPU, and sampling positions computed in
    half precision are off by large parts of a pixel.
    """
    dtype = reduce(torch.promote_types, (tensor.dtype for tensor in tensors), torch.float32)
    return [tensor.to(dtype) for tensor in tensors]
