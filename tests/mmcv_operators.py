"""What the tests of mmcv's operators share. Importing this installs the operators, which must precede mmcv's import.

So test files take `mmcv` from here.
"""

import pytest
import torch

from maxvit_dense.openmmlab import mmcv_ops

if not mmcv_ops.install():
    pytest.skip("a compiled mmcv._ext exists and wins over these operators", allow_module_level=True)

import mmcv.ops

__all__ = ["HALVES", "mmcv", "weighted_grads"]

HALVES = [torch.float16, torch.bfloat16]


def weighted_grads(output, inputs):
    """Gradients of a weighted sum of `output`; the weights are exact in every dtype and go by its shape."""
    weights = torch.randint(-2, 3, output.shape, generator=torch.Generator().manual_seed(0))
    return torch.autograd.grad((output * weights.to(output)).sum(), inputs)
