"""RoIAlign: mmcv's `roi_align_forward` and `roi_align_backward`, by torchvision's kernels.

Regions `rois` (R, 5) are (batch index, x1, y1, x2, y2) in image pixels; times `spatial_scale` they are in
pixels of the (B, C, H, W) map. Both libraries sample alike: `sampling_ratio` points along each side of a bin,
or ceil(side) for 0; `aligned` moves regions by half a pixel, else they are at least one pixel wide and high.
"""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from maxvit_dense.openmmlab.mmcv_ops.precision import at_least_float32
from maxvit_dense.openmmlab.mmcv_ops.unavailable import unavailable_error

_AVERAGE = 1  # mmcv's code for pool_mode "avg"; 0 is "max"


def roi_align_forward(
    input: Tensor,
    rois: Tensor,
    output: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the pooled regions into `output` (R, C, aligned_height, aligned_width).

    `argmax_y` and `argmax_x` serve mode "max" alone, which raises NotImplementedError: torchvision averages.
    """
    _require_average(pool_mode)
    maps, rois = at_least_float32(input, rois)
    size = (aligned_height, aligned_width)
    output.copy_(torch.ops.torchvision.roi_align(maps, rois, spatial_scale, *size, sampling_ratio, aligned))


def roi_align_backward(
    grad_output: Tensor,
    rois: Tensor,
    argmax_y: Tensor,
    argmax_x: Tensor,
    grad_input: Tensor,
    aligned_height: int,
    aligned_width: int,
    spatial_scale: float,
    sampling_ratio: int,
    pool_mode: int,
    aligned: bool,
) -> None:
    """Write the gradient of the map into `grad_input` (B, C, H, W). Regions get none, as in mmcv."""
    _require_average(pool_mode)
    grad, rois = at_least_float32(grad_output, rois)
    size = (aligned_height, aligned_width)
    grad_input.copy_(
        torch.ops.torchvision._roi_align_backward(
            grad, rois, spatial_scale, *size, *grad_input.shape, sampling_ratio, aligned
        )
    )


def _require_average(pool_mode: int) -> None:
    if pool_mode != _AVERAGE:
        raise unavailable_error('RoIAlign with pool_mode="max" (pool_mode="avg" works without)')
