"""Multi-scale deformable attention: mmcv's `ms_deform_attn_forward` and `ms_deform_attn_backward`.

mmcv takes its own PyTorch version on the CPU and calls these on a GPU; here they run that same version, whose
intermediates are recomputed in the backward pass instead of kept.

Shapes: value (B, K, heads, D) with the K keys of all levels one after the other; value_spatial_shapes
(levels, 2) as (H, W); sampling_locations (B, Q, heads, levels, points, 2) as (x, y), 0 to 1 across the level;
attention_weights (B, Q, heads, levels, points); output (B, Q, heads * D).
"""

import torch
from torch import Tensor

from maxvit_dense.openmmlab.mmcv_ops.precision import at_least_float32


def ms_deform_attn_forward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    im2col_step: int,
) -> Tensor:
    """The attended values, in value's dtype. `im2col_step` only steers mmcv's kernel."""
    return _attend(value, value_spatial_shapes, sampling_locations, attention_weights).to(value.dtype)


def ms_deform_attn_backward(
    value: Tensor,
    value_spatial_shapes: Tensor,
    value_level_start_index: Tensor,
    sampling_locations: Tensor,
    attention_weights: Tensor,
    grad_output: Tensor,
    grad_value: Tensor,
    grad_sampling_loc: Tensor,
    grad_attn_weight: Tensor,
    im2col_step: int,
) -> None:
    """Write the gradients of value, locations and weights into the last three tensors."""
    inputs = [tensor.detach().requires_grad_() for tensor in (value, sampling_locations, attention_weights)]
    with torch.enable_grad():
        output = _attend(inputs[0], value_spatial_shapes, *inputs[1:])
    grads = torch.autograd.grad(output, inputs, grad_output.to(output.dtype))
    for target, grad in zip((grad_value, grad_sampling_loc, grad_attn_weight), grads, strict=True):
        target.copy_(grad)


def _attend(value: Tensor, shapes: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
    # mmcv's module imports mmcv._ext first, so it cannot be imported at the top.
    from mmcv.ops.multi_scale_deform_attn import multi_scale_deformable_attn_pytorch

    value, locations, weights = at_least_float32(value, locations, weights)
    # Shapes as a list: iterating over a tensor on the GPU would wait for it once per number.
    return multi_scale_deformable_attn_pytorch(value, shapes.tolist(), locations, weights)
