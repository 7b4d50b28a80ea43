"""mmcv's operators without a compiler, each against its definition written out in plain loops."""

import importlib.util
import math
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from maxvit_dense.openmmlab import mmcv_ops

if not mmcv_ops.install():
    pytest.skip("a compiled mmcv._ext exists and wins over these operators", allow_module_level=True)

import mmcv.ops
from mmcv.ops.multi_scale_deform_attn import MultiScaleDeformableAttnFunction
from mmengine.utils.dl_utils import mmcv_full_available

ROOT = Path(__file__).parents[1]
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU is present")
DEVICES = ["cpu", pytest.param("cuda", marks=needs_gpu)]
HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture(params=DEVICES)
def device(request):
    torch.manual_seed(0)
    return request.param


def weighted_grads(output, inputs):
    """Gradients of a weighted sum of `output`; the weights are exact in every dtype and go by its shape."""
    weights = torch.randint(-2, 3, output.shape, generator=torch.Generator().manual_seed(0))
    return torch.autograd.grad((output * weights.to(output)).sum(), inputs)


# --- NMS ------------------------------------------------------------------------------------------


def loop_iou(a, b, offset):
    width = max(min(a[2], b[2]) - max(a[0], b[0]) + offset, 0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]) + offset, 0)
    area_a, area_b = ((box[2] - box[0] + offset) * (box[3] - box[1] + offset) for box in (a, b))
    union = area_a + area_b - width * height
    return width * height / union if union > 0 else 0.0


def loop_nms(boxes, scores, threshold, offset=0):
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    kept = []
    for i in order:
        if all(loop_iou(boxes[i], boxes[j], offset) <= threshold for j in kept):
            kept.append(i)
    return kept


def loop_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    scores, left, kept = list(scores), list(range(len(scores))), []
    while left:
        best = max(left, key=lambda i: scores[i])
        left.remove(best)
        kept.append((best, scores[best]))
        for i in left:
            iou = loop_iou(boxes[best], boxes[i], offset)
            if method == "gaussian":
                scores[i] *= math.exp(-(iou**2) / sigma)
            elif iou >= threshold:
                scores[i] *= 1 - iou if method == "linear" else 0
        left = [i for i in left if scores[i] >= min_score]
    return kept


def random_boxes(count, seed, dtype=torch.float64):
    """Boxes on whole pixels in a small field, some empty, and scores that all differ."""
    rng = np.random.default_rng(seed)
    corner = rng.integers(0, 20, (count, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 12, (count, 2))], axis=1)
    scores = (rng.permutation(count) + 1) / (count + 1)
    return torch.tensor(boxes, dtype=dtype), torch.tensor(scores, dtype=dtype)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("threshold", [0.1, 0.37, 0.7])
@pytest.mark.parametrize("seed", range(3))
def test_nms_keeps_what_the_greedy_loop_keeps(device, seed, threshold, offset):
    boxes, scores = random_boxes(60, seed)
    dets, kept = mmcv.ops.nms(boxes.float().to(device), scores.float().to(device), threshold, offset=offset)
    assert kept.tolist() == loop_nms(boxes.tolist(), scores.tolist(), threshold, offset)
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], 1).float()[kept.cpu()])


def test_nms_offset_counts_the_last_pixel(device):
    boxes = torch.tensor([[0.0, 0, 1, 0], [0, 0, 0, 0]], device=device)  # 2x1 and 1x1 pixels, or both empty
    scores = torch.tensor([0.9, 0.8], device=device)
    kept = {
        (offset, threshold): mmcv.ops.nms(boxes, scores, threshold, offset=offset)[1].tolist()
        for offset in (0, 1)
        for threshold in (0.49, 0.5)
    }
    # With offset 1 the IoU is 0.5, which a threshold of 0.5 lets pass.
    assert kept == {(0, 0.49): [0, 1], (0, 0.5): [0, 1], (1, 0.49): [0], (1, 0.5): [0, 1]}


def test_nms_of_equal_scores_keeps_the_first(device):
    boxes = torch.tensor([[0.0, 0, 4, 4]] * 3 + [[9.0, 9, 12, 12]] * 2, device=device)
    assert mmcv.ops.nms(boxes, torch.full((5,), 0.5, device=device), 0.5)[1].tolist() == [0, 3]


@pytest.mark.parametrize("dtype", HALVES)
def test_nms_in_half_precision(device, dtype):
    boxes, scores = random_boxes(40, seed=7, dtype=dtype)
    dets, kept = mmcv.ops.nms(boxes.to(device), scores.to(device), 0.37, offset=1)
    assert kept.tolist() == loop_nms(boxes.tolist(), scores.tolist(), 0.37, 1)
    assert dets.dtype == dtype


def test_nms_of_arrays_with_score_threshold_and_maximum():
    boxes, scores = (tensor.numpy() for tensor in random_boxes(60, seed=5))
    dets, kept = mmcv.ops.nms(boxes, scores, 0.4, score_threshold=0.3, max_num=4)
    passed = [i for i in loop_nms(boxes, scores, 0.4) if scores[i] > 0.3]
    assert len(passed) > 4 and kept.tolist() == passed[:4]
    assert isinstance(dets, np.ndarray)


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("method", ["naive", "linear", "gaussian"])
def test_soft_nms_gives_the_scores_of_the_loop(device, method, offset):
    boxes, scores = random_boxes(40, seed=3)
    options = dict(sigma=0.4, min_score=0.05, method=method, offset=offset)
    dets, kept = mmcv.ops.soft_nms(boxes.float().to(device), scores.float().to(device), 0.3, **options)
    expected = loop_soft_nms(boxes.tolist(), scores.tolist(), 0.3, **options)
    assert len(expected) < 40
    assert kept.tolist() == [index for index, _ in expected]
    assert torch.equal(dets[:, :4].cpu().double(), boxes[kept.cpu()])
    torch.testing.assert_close(dets[:, 4].cpu().double(), torch.tensor([s for _, s in expected]).double())


@pytest.mark.parametrize("function", [mmcv.ops.nms, mmcv.ops.soft_nms])
def test_nms_of_no_boxes(function, device):
    dets, kept = function(torch.zeros(0, 4, device=device), torch.zeros(0, device=device), 0.5)
    assert dets.shape == (0, 5)
    assert kept.shape == (0,) and kept.dtype == torch.int64


def loop_batched_nms(boxes, scores, classes, threshold, offset):
    kept = []
    for label in set(classes):
        members = [i for i, other in enumerate(classes) if other == label]
        of_class = loop_nms([boxes[i] for i in members], [scores[i] for i in members], threshold, offset)
        kept += [members[k] for k in of_class]
    return sorted(kept, key=lambda i: -scores[i])


@pytest.mark.parametrize("extra", [{}, {"split_thr": 10}, {"offset": 1}], ids=["one call", "split", "offset"])
def test_batched_nms_suppresses_within_a_class_only(device, extra):
    boxes, scores = random_boxes(60, seed=11)
    classes = torch.arange(60) % 3
    inputs = (tensor.to(device) for tensor in (boxes.float(), scores.float(), classes))
    dets, kept = mmcv.ops.batched_nms(*inputs, dict(type="nms", iou_threshold=0.3, **extra))
    lists = (tensor.tolist() for tensor in (boxes, scores, classes))
    expected = loop_batched_nms(*lists, 0.3, extra.get("offset", 0))
    assert kept.tolist() == expected
    assert torch.equal(dets.cpu(), torch.cat([boxes, scores[:, None]], 1).float()[expected])


def test_batched_nms_without_classes_and_without_nms(device):
    boxes, scores = random_boxes(30, seed=2)
    inputs = [tensor.to(device) for tensor in (boxes.float(), scores.float(), torch.arange(30))]
    agnostic = mmcv.ops.batched_nms(*inputs, dict(type="nms", iou_threshold=0.3), class_agnostic=True)[1]
    assert agnostic.tolist() == loop_nms(boxes.tolist(), scores.tolist(), 0.3)
    assert mmcv.ops.batched_nms(*inputs, None)[1].tolist() == scores.argsort(descending=True).tolist()


def test_batched_nms_with_soft_nms_rescores(device):
    boxes, scores = random_boxes(30, seed=4)
    classes = torch.arange(30) % 2
    inputs = (tensor.to(device) for tensor in (boxes.float(), scores.float(), classes))
    config = dict(type="soft_nms", iou_threshold=0.3, min_score=0.05, split_thr=10)
    dets, kept = mmcv.ops.batched_nms(*inputs, config)
    expected = {}
    for label in (0, 1):
        members = (classes == label).nonzero()[:, 0]
        part = loop_soft_nms(boxes[members].tolist(), scores[members].tolist(), 0.3, 0.5, 0.05, "linear", 0)
        expected |= {int(members[index]): score for index, score in part}
    assert kept.tolist() == sorted(expected, key=lambda i: -expected[i])
    torch.testing.assert_close(dets[:, 4].tolist(), [expected[i] for i in kept.tolist()], atol=1e-6, rtol=0)


# --- RoIAlign -------------------------------------------------------------------------------------


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


# --- multi-scale deformable attention -------------------------------------------------------------


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


# --- sigmoid focal loss ---------------------------------------------------------------------------


def loop_focal_loss(logits, target, gamma, alpha, weight=None):
    rows = []
    for row, label in zip(logits, target.tolist(), strict=True):
        factor = weight[label] if weight is not None and 0 <= label < len(row) else 1.0
        for column, logit in enumerate(row):
            p = 1 / (1 + torch.exp(-logit))
            if column == label:
                rows.append(-factor * alpha * (1 - p) ** gamma * torch.log(p))
            else:
                rows.append(-factor * (1 - alpha) * p**gamma * torch.log(1 - p))
    return torch.stack(rows).view(logits.shape)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("gamma, alpha", [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
def test_focal_loss_equals_the_formula(device, gamma, alpha, weighted, reduction):
    logits = (torch.randn(6, 3, dtype=torch.float64) * 4).requires_grad_()
    target = torch.tensor([0, 2, 1, 3, -1, 2])  # 3 and -1 are background
    weight = torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64) if weighted else None
    loss = loop_focal_loss(logits, target, gamma, alpha, weight)
    expected = {"none": loss, "mean": loss.sum() / 6, "sum": loss.sum()}[reduction]
    on_device = logits.detach().to(device).requires_grad_()
    device_weight = weight.to(device) if weighted else None
    output = mmcv.ops.sigmoid_focal_loss(on_device, target.to(device), gamma, alpha, device_weight, reduction)
    torch.testing.assert_close(output.cpu(), expected)
    # mmcv multiplies by the gradient of the output, so one weight a logit must come back.
    grads = weighted_grads(output, on_device)[0].cpu(), weighted_grads(expected, logits)[0]
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_is_finite_for_large_logits(device, gamma):
    logits = torch.tensor([[200.0, -200.0], [200.0, -200.0]], device=device, requires_grad=True)
    loss = mmcv.ops.sigmoid_focal_loss(logits, torch.tensor([0, 1], device=device), gamma, 0.25, None, "none")
    torch.testing.assert_close(loss.cpu(), torch.tensor([[0.0, 0.0], [150.0, 50.0]]))
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(grad.cpu(), torch.tensor([[0.0, 0.0], [0.75, -0.25]]))


@pytest.mark.parametrize("dtype", HALVES)
def test_focal_loss_in_half_precision(device, dtype):
    logits = torch.randn(5, 3, device=device).to(dtype).requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 1], device=device)
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "none")
    assert loss.dtype == dtype
    expected = loop_focal_loss(logits.detach().double(), target, 2.0, 0.25)
    torch.testing.assert_close(loss.double(), expected, atol=1e-2, rtol=1e-2)
    assert torch.autograd.grad(loss.sum(), logits)[0].isfinite().all()


def test_focal_loss_of_no_rows(device):
    logits = torch.zeros(0, 3, device=device, requires_grad=True)
    target = torch.zeros(0, dtype=torch.int64, device=device)
    loss = mmcv.ops.sigmoid_focal_loss(logits, target, 2.0, 0.25, None, "sum")
    assert loss.item() == 0
    assert torch.autograd.grad(loss, logits)[0].shape == (0, 3)


# --- the module mmcv._ext -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda x, rois: mmcv.ops.RoIPool(2)(x, rois), "'roi_pool_forward'"),
        (lambda x, rois: mmcv.ops.RoIAlign(2, pool_mode="max")(x, rois), 'pool_mode="max"'),
    ],
    ids=["operator", "mode"],
)
def test_an_unavailable_operator_names_itself_and_the_command(call, name):
    with pytest.raises(RuntimeError) as caught:
        call(torch.zeros(1, 4, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]))
    message = str(caught.value)
    assert isinstance(caught.value, NotImplementedError)
    assert name in message
    assert "--no-build-isolation --no-deps --force-reinstall --no-cache-dir --no-binary onedl-mmcv" in message
    assert f" onedl-mmcv=={mmcv.__version__}\n" in message


def test_the_module_is_found_as_any_other():
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None and spec.loader is not None
    assert importlib.import_module("mmcv._ext") is mmcv._ext
    assert mmcv_full_available()


@pytest.mark.parametrize("name", ["__path__", "__wrapped__", "__all__s", "_private"])
def test_the_module_does_not_invent_private_attributes(name):
    assert not hasattr(mmcv._ext, name)


def test_the_environment_report_works():
    assert "maxvit_dense" in mmcv.ops.get_compiler_version()
    assert "maxvit_dense" in mmcv.ops.get_compiling_cuda_version()


def test_installing_twice_adds_one_finder():
    before = list(sys.meta_path)
    assert mmcv_ops.install() is True
    assert sys.meta_path == before


def test_installing_after_mmdet_warns(monkeypatch):
    others = [finder for finder in sys.meta_path if type(finder).__name__ != "_ExtFinder"]
    assert len(others) == len(sys.meta_path) - 1
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.setitem(sys.modules, "mmdet.structures", ModuleType("mmdet.structures"))
    with pytest.warns(UserWarning, match="mmdet.structures.*Import maxvit_dense.openmmlab first"):
        mmcv_ops.install()


# By its file: importing the package above it would bring mmengine and its friends along.
LOAD_ALONE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("mmcv_ops", {mmcv_ops.__file__!r})
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
"""


def run_python(script, *extra_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*extra_path, ROOT)))}
    return subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def compiled_mmcv(tmp_path):
    """A folder with a package mmcv whose _ext stands for a compiled one."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    (tmp_path / "mmcv" / "_ext.py").write_text("compiled = True\n")
    return tmp_path


def test_a_compiled_extension_wins(compiled_mmcv):
    done = run_python(
        LOAD_ALONE + "before = list(sys.meta_path)\n"
        "assert mmcv_ops.install() is False and sys.meta_path == before\n"
        "import mmcv._ext\n"
        "assert mmcv._ext.compiled is True and mmcv_ops.install() is False\n",
        compiled_mmcv,
    )
    assert done.returncode == 0, done.stderr


def test_a_compiled_extension_wins_when_it_appears_after_installing(compiled_mmcv):
    done = run_python(
        LOAD_ALONE + "assert mmcv_ops.install() is True\n"
        f"sys.path.insert(0, {str(compiled_mmcv)!r})\n"
        "import mmcv._ext\n"
        "assert mmcv._ext.compiled is True\n"
    )
    assert done.returncode == 0, done.stderr


def test_installing_imports_nothing_heavy():
    done = run_python(
        LOAD_ALONE + "assert mmcv_ops.install() is True\n"
        "assert not {'mmcv', 'mmengine', 'torch', 'torchvision'} & set(sys.modules)\n"
    )
    assert done.returncode == 0, done.stderr


def test_mmdet_and_mmseg_import_after_installing():
    done = run_python(
        "from maxvit_dense.openmmlab.mmcv_ops import install\n"
        "assert install() is True\n"
        "import mmdet.models, mmdet.apis, mmseg.models, mmcv.ops\n"
        "from mmdet.models.layers import bbox_nms\n"
        "from mmdet.structures.mask import structures\n"
        "assert bbox_nms.batched_nms is mmcv.ops.batched_nms\n"
        "assert structures.roi_align is mmcv.ops.roi_align\n"
    )
    assert done.returncode == 0, done.stderr
