"""Non-maximum suppression: mmcv's `nms` and `softnms`.

Boxes are (N, 4) as (x1, y1, x2, y2) in pixels. `offset` 0 or 1 is added to every width and height, those of
intersections too: with 1, x2 and y2 name the last pixel inside.
"""

import torch
import torchvision  # noqa: F401  registers torch.ops.torchvision
from torch import Tensor

from maxvit_dense.openmmlab.mmcv_ops.precision import at_least_float32

_NAIVE, _LINEAR, _GAUSSIAN = range(3)  # mmcv's codes for soft-NMS methods


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float, offset: int) -> Tensor:
    """Indices (K,) int64 of the boxes kept, best first: none has IoU > `iou_threshold` with a better one."""
    boxes, scores = at_least_float32(boxes, scores)
    # torchvision compares in float64, where a float32 IoU of 1/10 exceeds 0.1; mmcv keeps such a box.
    threshold = torch.tensor(iou_threshold, dtype=boxes.dtype).item()
    return torch.ops.torchvision.nms(_include_last_pixel(boxes, offset), scores, threshold)


def softnms(
    boxes: Tensor,
    scores: Tensor,
    dets: Tensor,
    iou_threshold: float,
    sigma: float,
    min_score: float,
    method: int,
    offset: int,
) -> Tensor:
    """Soft-NMS (https://arxiv.org/abs/1704.04503): overlapping boxes lose score instead of being removed.

    `method` 0 zeroes the score where IoU >= `iou_threshold`, 1 multiplies it by 1 - IoU there, 2 multiplies
    it by exp(-IoU**2 / `sigma`) everywhere. Boxes whose score falls below `min_score` are dropped. Writes the
    K boxes kept and their new scores into the first rows of `dets` (N, 5); returns their indices (K,) int64.
    """
    boxes, scores = at_least_float32(boxes, scores)
    boxes, scores = boxes.detach(), scores.detach().clone()
    extents = _include_last_pixel(boxes, offset)
    rest = torch.arange(len(boxes), device=boxes.device)
    kept: list[int] = []
    while len(rest):
        position = int(scores[rest].argmax())
        best = int(rest[position])
        dets[len(kept), :4] = boxes[best]
        dets[len(kept), 4] = scores[best]
        kept.append(best)
        rest = torch.cat((rest[:position], rest[position + 1 :]))
        iou = _iou(extents[best], extents[rest])
        scores[rest] *= _soft_weight(iou, iou_threshold, sigma, method)
        rest = rest[scores[rest] >= min_score]
    return torch.tensor(kept, dtype=torch.int64, device=boxes.device)


def _soft_weight(iou: Tensor, iou_threshold: float, sigma: float, method: int) -> Tensor:
    if method == _GAUSSIAN:
        return torch.exp(-iou.square() / sigma)
    lowered = 1 - iou if method == _LINEAR else torch.zeros_like(iou)
    return torch.where(iou >= iou_threshold, lowered, 1.0)


def _include_last_pixel(boxes: Tensor, offset: int) -> Tensor:
    # Moving x2 and y2 by the offset adds it to every width and height, of intersections too.
    return torch.cat((boxes[:, :2], boxes[:, 2:] + offset), dim=1) if offset else boxes


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """IoU (N,) of one box (4,) with boxes (N, 4); 0 where both are empty."""
    size = (torch.minimum(box[2:], boxes[:, 2:]) - torch.maximum(box[:2], boxes[:, :2])).clamp(min=0)
    intersection = size.prod(dim=1)
    union = (box[2:] - box[:2]).prod() + (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) - intersection
    return intersection / union.clamp(min=torch.finfo(boxes.dtype).tiny)
