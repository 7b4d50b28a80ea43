"""mmcv's multi-scale deformable attention without a compiler, against its definition written out in plain loops."""

import pytest
import torch

from tests.mmcv_operators import HALVES, mmcv, weighted_grads

MultiScaleDeformableAttnFunction = mmcv.ops.multi_scale_deform_attn.MultiScaleDeformableAttnFunction


def loop_deform_attn(value, shapes, locations, weights):
    batch, queries, heads, levels, points, _ = locations.shape
    rows = []
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                start, total = 0, value.new_zeros(value.shape[-1])
                for level, (height, width) in enumerate(shapes):
                    image = value[b, start : start + height * width, h].view(height, width, -1)
                    start += height * width
                    for p in range(points):
                        x, y = locations[b, q, h, level, p] * locations.new_tensor([width, height]) - 0.5
                        total = total + weights[b, q, h, level, p] * loop_zero_padded(image, y, x)
                rows.append(total)
    return torch.stack(rows).view(batch, queries, -1)


def loop_zero_padded(image, y, x):
    """The (D,) value between the pixels of an (H, W, D) image that is 0 outside."""
    total = image.new_zeros(image.shape[-1])
    top, left = int(y.floor()), int(x.floor())
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total = total + image[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def deform_attn_inputs(device, dtype):
    """value, shapes, level starts, locations (some outside), weights: 2 images, 3 queries, 2 heads."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (2, 1), (5, 3)]
    value = torch.randn(2, sum(h * w for h, w in shapes), 2, 3, generator=generator)
    locations = torch.rand(2, 3, 2, 3, 2, 2, generator=generator) * 1.6 - 0.3
    weights = torch.randn(2, 3, 2, 3, 2, generator=generator)
    starts = torch.tensor([0, 12, 14], device=device)
    floats = [tensor.to(device, dtype).requires_grad_() for tensor in (value, locations, weights)]
    return floats[0], torch.tensor(shapes, device=device), starts, *floats[1:]


def test_deformable_attention_equals_the_loop(device):
    value, shapes, starts, locations, weights = deform_attn_inputs(device, torch.float64)
    output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    expected = loop_deform_attn(value, shapes.tolist(), locations, weights)
    torch.testing.assert_close(output, expected)
    inputs = (value, locations, weights)
    for grad, expected_grad in zip(weighted_grads(output, inputs), weighted_grads(expected, inputs), strict=True):
        torch.testing.assert_close(grad, expected_grad)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("autocast", [False, True])
def test_deformable_attention_in_half_precision(device, dtype, autocast):
    value, shapes, starts, locations, weights = deform_attn_inputs(device, dtype)
    with torch.autocast(device, dtype, enabled=autocast):
        output = MultiScaleDeformableAttnFunction.apply(value, shapes, starts, locations, weights, 64)
    assert output.dtype == dtype
    exact = [tensor.detach().double().requires_grad_() for tensor in (value, locations, weights)]
    expected = loop_deform_attn(exact[0], shapes.tolist(), *exact[1:])
    torch.testing.assert_close(output.double(), expected, atol=2e-2, rtol=1e-2)
    grads = weighted_grads(output, (value, locations, weights))
    for grad, expected_grad in zip(grads, weighted_grads(expected, exact), strict=True):
        assert grad.dtype == dtype
        torch.testing.assert_close(grad.double(), expected_grad, atol=2e-2, rtol=1e-2)
