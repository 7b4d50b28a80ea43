"""Multiply-adds of a detector, segmentor or classifier at an image size.

Counted are the convolutions, linear layers and the two products of each attention, which is what published FLOPs of
this field count: on Swin-T and -S with Mask R-CNN they come to 266.6 and 358.6 G at 1280x800, published as 267 and 359
(normalisation, activations, RoIAlign, sampling and interpolation are in neither). A sliding window or padding that a
layer adds by itself is counted as it is computed.

Weights and image are PyTorch's meta tensors, which have sizes but no values, so that a count takes a second. Heads
with deformable attention need values to run, and get zeros on the CPU in place of the maps.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from mmcv.ops import MultiScaleDeformableAttention
from mmdet.models.detectors import TwoStageDetector
from mmdet.models.detectors.base_detr import DetectionTransformer
from mmdet.models.detectors.maskformer import MaskFormer
from mmdet.structures import DetDataSample
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from .classification.classifier import ImageClassifier

# Regions that published counts of two-stage detectors run through the heads, for every stage of a cascade.
BOX_REGIONS = 1000
MASK_REGIONS = 100


def count_parameters(model: nn.Module) -> int:
    """All parameters, those of heads that only training uses among them."""
    return sum(p.numel() for p in model.parameters())


def count_network(net: nn.Module, height: int, width: int) -> int:
    """Multiply-adds of a network of timm on the meta device, for one image of ``height`` by ``width`` pixels."""
    with _counting() as counter:
        net.eval()(torch.empty(1, 3, height, width, device="meta"))
    return counter.get_total_flops() // 2


def count_model(model: nn.Module, height: int, width: int) -> int:
    """Multiply-adds to find, segment or classify things in one image; heads that only training uses are left out.

    Args:
        model: detector of mmdet, segmentor of mmseg or ``ImageClassifier``. Its weights are lost: it cannot be used
            afterwards.
        height: of the image in pixels.
        width: likewise.
    """
    if isinstance(model, ImageClassifier):
        return count_network(model.backbone.to("meta"), height, width)
    model.eval()
    device = "cpu" if _needs_values(model) else "meta"
    for part in [model.backbone, model.neck] if model.with_neck else [model.backbone]:
        part.to("meta")
    if device == "meta":
        model.to("meta")
    with _counting() as counter:
        maps = model.extract_feat(torch.empty(1, 3, height, width, device="meta"))
        _run_heads(model, [torch.zeros_like(m, device=device) for m in maps], (height, width))
    return counter.get_total_flops() // 2


def _needs_values(model: nn.Module) -> bool:
    return any(isinstance(part, MultiScaleDeformableAttention) for part in model.modules())


@contextmanager
def _counting() -> Iterator[FlopCounterMode]:
    """Attention runs as two matrix products: the counter has no formula for the CPU's fused kernels."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run_heads(model: nn.Module, maps: Sequence[Tensor], image_size: tuple[int, int]) -> None:
    sample = DetDataSample(metainfo=dict(img_shape=image_size, batch_input_shape=image_size))
    if isinstance(model, TwoStageDetector):
        model.rpn_head(maps)
        _run_roi_heads(model.roi_head, maps[0])
    elif isinstance(model, DetectionTransformer):
        model.bbox_head(**model.forward_transformer(maps, [sample]))
    elif isinstance(model, MaskFormer):
        model.panoptic_head(maps, [sample])
    elif not hasattr(model, "decode_head"):
        model.bbox_head(maps)
    elif _needs_values(model):  # mmseg's Mask2Former head is mmdet's, and takes its arguments
        model.decode_head(maps, [sample])
    else:
        model.decode_head(maps)


def _run_roi_heads(roi_head: nn.Module, like: Tensor) -> None:
    """The heads on regions of any content: which ones are found depends on weights, their number does not here."""
    groups = [(roi_head.bbox_head, roi_head.bbox_roi_extractor, BOX_REGIONS)]
    if roi_head.with_mask:
        groups.append((roi_head.mask_head, roi_head.mask_roi_extractor, MASK_REGIONS))
    for heads, extractors, regions in groups:
        for head, extractor in zip(_as_list(heads), _as_list(extractors), strict=True):
            size = extractor.roi_layers[0].output_size
            head(like.new_empty(regions, extractor.out_channels, *size))


def _as_list(parts: nn.Module) -> list[nn.Module]:
    """A cascade has a list of heads, one a stage."""
    return list(parts) if isinstance(parts, nn.ModuleList) else [parts]
