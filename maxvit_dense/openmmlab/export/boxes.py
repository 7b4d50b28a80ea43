"""What detectors do between their maps and their boxes, in a form that one program serves for every image size.

mmdet's own steps branch on the number of boxes, which a program cannot know; these are the same steps without branches.
All are of one image.
"""

import math

import torch
from mmengine.config import ConfigDict
from torch import Tensor
from torchvision.ops import nms, roi_align


def best(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The ``count`` largest of (n,) scores, or all if there are fewer, and their places."""
    return scores.topk(torch.sym_min(count, scores.shape[0])) if count > 0 else scores.sort(descending=True)


def decode(priors: Tensor, deltas: Tensor, coder: torch.nn.Module, image: Tensor) -> Tensor:
    """Boxes of (n, 4) priors moved by (n, 4) deltas, cut to the image: mmdet's ``DeltaXYWHBBoxCoder``."""
    deltas = deltas * deltas.new_tensor(coder.stds) + deltas.new_tensor(coder.means)
    centre, size = (priors[:, :2] + priors[:, 2:]) * 0.5, priors[:, 2:] - priors[:, :2]
    limit = abs(math.log(16 / 1000))
    centre = centre + size * deltas[:, :2]
    half = size * deltas[:, 2:].clamp(-limit, limit).exp() * 0.5
    boxes = torch.cat([centre - half, centre + half], 1)
    return _cut_to_image(boxes, image) if coder.clip_border else boxes


def _cut_to_image(boxes: Tensor, image: Tensor) -> Tensor:
    """Boxes within (B, C, H, W) images."""
    x, y = boxes[:, 0::2].clamp(0, image.shape[3]), boxes[:, 1::2].clamp(0, image.shape[2])
    return torch.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], 1)


def suppress(boxes: Tensor, scores: Tensor, groups: Tensor, cfg: ConfigDict, most: int) -> Tensor:
    """Places of at most ``most`` boxes that are left, best first; boxes of different groups leave each other alone.

    Groups are moved apart by the largest coordinate, as mmcv's ``batched_nms`` does.
    """
    if cfg.get("class_agnostic", False):
        apart = boxes
    else:
        largest = torch.cat([boxes.flatten(), boxes.new_zeros(1)]).max()  # of no boxes too
        apart = boxes + (groups.to(boxes) * (largest + 1)).unsqueeze(1)
    return nms(apart, scores, cfg.iou_threshold)[:most]


def keep(mask: Tensor, *values: Tensor) -> list[Tensor]:
    """Rows of values where the mask, (n,), is True."""
    places = mask.nonzero().squeeze(1)
    return [value[places] for value in values]


def wide_enough(boxes: Tensor, cfg: ConfigDict) -> Tensor:
    """Whether each box has more than the least size."""
    least = cfg.get("min_bbox_size", -1)
    return (boxes[:, 2:] - boxes[:, :2] > least).all(1)


def pool_regions(extractor: torch.nn.Module, maps: tuple[Tensor, ...], boxes: Tensor) -> tuple[Tensor, Tensor]:
    """RoIAlign of each box on the map of its size: mmdet's ``SingleRoIExtractor``.

    Returns:
        (n, C, h, w), boxes of the first map first, and (n,) the place that each of them had.
    """
    maps = maps[: extractor.num_inputs]
    regions = torch.cat([boxes.new_zeros(boxes.shape[0], 1), boxes], 1)
    levels = extractor.map_roi_levels(regions, len(maps))
    order = [(levels == level).nonzero().squeeze(1) for level in range(len(maps))]
    pooled = [
        roi_align(x, regions[places], layer.output_size, layer.spatial_scale, layer.sampling_ratio, layer.aligned)
        for x, places, layer in zip(maps, order, extractor.roi_layers, strict=True)
    ]
    return torch.cat(pooled), torch.cat(order)
