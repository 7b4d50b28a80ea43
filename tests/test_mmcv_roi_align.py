"""mmcv's RoIAlign without a compiler, against its definition written out in plain loops."""

import math

import pytest
import torch

from tests.mmcv_operators import HALVES, mmcv, weighted_grads


def loop_bilinear(image, y, x):
    """The (C,) value between the pixels of a (C, H, W) image; 0 beyond one pixel outside, else clamped."""
    height, width = image.shape[1:]
    if not (-1 <= y <= height and -1 <= x <= width):
        return image.new_zeros(image.shape[0])
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
    fy, fx = y - top, x - left
    upper = image[:, top, left] * (1 - fx) + image[:, top, right] * fx
    lower = image[:, bottom, left] * (1 - fx) + image[:, bottom, right] * fx
    return upper * (1 - fy) + lower * fy


def loop_roi_align(maps, rois, size, scale, ratio, aligned):
    regions = []
    for batch, *corners in rois.tolist():
        x1, y1, x2, y2 = (corner * scale - (0.5 if aligned else 0) for corner in corners)
        width, height = (x2 - x1, y2 - y1) if aligned else (max(x2 - x1, 1), max(y2 - y1, 1))
        bin_h, bin_w = height / size[0], width / size[1]
        ny, nx = ratio or math.ceil(bin_h), ratio or math.ceil(bin_w)
        bins = []
        for row in range(size[0]):
            for column in range(size[1]):
                total = maps.new_zeros(maps.shape[1])
                for iy in range(ny):
                    for ix in range(nx):
                        y = y1 + (row + (iy + 0.5) / ny) * bin_h
                        x = x1 + (column + (ix + 0.5) / nx) * bin_w
                        total = total + loop_bilinear(maps[int(batch)], y, x)
                bins.append(total / max(ny * nx, 1))
        regions.append(torch.stack(bins, 1).view(-1, *size))
    return torch.stack(regions)


# On an image of 28 x 36 pixels, seen at scale 1/4 as 7 x 9: inside, over the top left and the bottom right
# edge, wholly outside, narrower than a pixel, empty.
ROIS = [
    [0, 4.3, 5.1, 27.9, 19.2],
    [1, -9.0, -7.5, 10.2, 8.8],
    [1, 20.4, 12.0, 48.0, 41.5],
    [0, 60.0, 60.0, 80.0, 90.0],
    [0, 8.1, 9.3, 9.0, 22.0],
    [1, 8.0, 8.0, 8.0, 8.0],
]


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("ratio", [0, 2])
@pytest.mark.parametrize("scale", [0.25, 0.1])
def test_roi_align_equals_the_sampling_loop(device, scale, ratio, aligned):
    maps = torch.randn(2, 3, 7, 9, dtype=torch.float64, requires_grad=True)
    rois = torch.tensor(ROIS, dtype=torch.float64)
    expected = loop_roi_align(maps, rois, (3, 2), scale, ratio, aligned)
    align = mmcv.ops.RoIAlign((3, 2), scale, ratio, aligned=aligned)
    on_device = maps.detach().to(device, memory_format=torch.channels_last).requires_grad_()
    output = align(on_device, rois.to(device))
    torch.testing.assert_close(output.cpu(), expected)
    grads = [weighted_grads(*pair)[0].cpu() for pair in ((output, on_device), (expected, maps))]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("autocast", [False, True])
def test_roi_align_in_half_precision(device, dtype, autocast):
    maps = torch.randn(2, 3, 7, 9, device=device).to(dtype).requires_grad_()
    rois = torch.tensor(ROIS, dtype=dtype, device=device)
    with torch.autocast(device, dtype, enabled=autocast):
        output = mmcv.ops.RoIAlign((3, 2), 0.25)(maps, rois)
    assert output.dtype == dtype
    exact = maps.detach().double().requires_grad_()
    expected = loop_roi_align(exact, rois.double(), (3, 2), 0.25, 0, True)
    torch.testing.assert_close(output.double(), expected, atol=1e-2, rtol=1e-2)
    (grad,) = weighted_grads(output, maps)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad.double(), weighted_grads(expected, exact)[0], atol=1e-2, rtol=1e-2)


def test_roi_align_of_no_regions(device):
    maps = torch.randn(2, 3, 7, 9, device=device, requires_grad=True)
    output = mmcv.ops.RoIAlign(5)(maps, torch.zeros(0, 5, device=device))
    assert output.shape == (0, 3, 5, 5)
    assert not torch.autograd.grad(output.sum(), maps)[0].any()
