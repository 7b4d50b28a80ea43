"""mmcv's NMS without a compiler, against its definition written out in plain loops."""

import math

import numpy as np
import pytest
import torch

from tests.mmcv_operators import HALVES, mmcv


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
