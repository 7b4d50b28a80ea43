"""The module that the import system hands out as `mmcv._ext` after `install()`.

mmcv checks at import that each operator it may call is an attribute here, so every public name answers.
"""

from collections.abc import Callable
from typing import NoReturn

from maxvit_dense.openmmlab.mmcv_ops.deform_attn import ms_deform_attn_backward, ms_deform_attn_forward
from maxvit_dense.openmmlab.mmcv_ops.focal_loss import sigmoid_focal_loss_backward, sigmoid_focal_loss_forward
from maxvit_dense.openmmlab.mmcv_ops.nms import nms, softnms
from maxvit_dense.openmmlab.mmcv_ops.roi_align import roi_align_backward, roi_align_forward
from maxvit_dense.openmmlab.mmcv_ops.unavailable import unavailable

__all__ = [
    "get_compiler_version",
    "get_compiling_cuda_version",
    "ms_deform_attn_backward",
    "ms_deform_attn_forward",
    "nms",
    "roi_align_backward",
    "roi_align_forward",
    "sigmoid_focal_loss_backward",
    "sigmoid_focal_loss_forward",
    "softnms",
]


def get_compiler_version() -> str:
    """What mmcv's environment report shows as its compiler."""
    return "n/a (operators of maxvit_dense)"


def get_compiling_cuda_version() -> str:
    """What mmcv's environment report shows as the CUDA version it was compiled with."""
    return "n/a (operators of maxvit_dense)"


def __getattr__(name: str) -> Callable[..., NoReturn]:
    # No operator of mmcv starts with an underscore; the import system, inspect and copy probe such names.
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return unavailable(name)
