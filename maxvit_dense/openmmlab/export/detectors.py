"""RetinaNet, ATSS, Faster and Mask R-CNN from one image to its objects, without a branch on how many there are."""

import torch
from mmdet.models import (
    ATSSHead,
    BBoxHead,
    FCNMaskHead,
    RetinaHead,
    RPNHead,
    SingleRoIExtractor,
    SingleStageDetector,
    StandardRoIHead,
    TwoStageDetector,
)
from mmdet.models.task_modules import AnchorGenerator, DeltaXYWHBBoxCoder
from torch import Tensor, nn

from .boxes import best, decode, keep, pool_regions, suppress, wide_enough


class OneStageProgram(nn.Module):
    """(1, 3, H, W) to boxes (N, 4) in its pixels, scores (N,) and labels (N,), best first."""

    outputs = ("boxes", "scores", "labels")

    def __init__(self, detector: SingleStageDetector):
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        head = self.detector.bbox_head
        cfg = head.test_cfg
        levels = zip(*head(self.detector.extract_feat(image)), strict=True)
        found = [self._candidates(i, *level) for i, level in enumerate(levels)]
        scores, labels, deltas, priors = keep(*(torch.cat(values) for values in zip(*found, strict=True)))
        boxes = decode(priors, deltas, head.bbox_coder, image)
        boxes, scores, labels = keep(wide_enough(boxes, cfg), boxes, scores, labels)
        kept = suppress(boxes, scores, labels, cfg.nms, cfg.max_per_img)
        return boxes[kept], scores[kept], labels[kept]

    def _candidates(self, level: int, logits: Tensor, deltas: Tensor, *centres: Tensor) -> tuple[Tensor, ...]:
        """Best guesses on one map: whether they are likely enough, scores, labels, deltas and anchors."""
        head = self.detector.bbox_head
        classes = head.cls_out_channels
        priors = head.prior_generator.single_level_grid_priors(logits.shape[-2:], level, logits.dtype, logits.device)
        logits = logits[0].permute(1, 2, 0).reshape(-1, classes)
        scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[:, :-1]
        scores, places = best(scores.flatten(), head.test_cfg.get("nms_pre", -1))
        likely, anchors = scores > head.test_cfg.get("score_thr", 0), places // head.num_classes
        for centre in centres:  # ATSS: how near to an object's centre each anchor lies
            scores = scores * centre[0].permute(1, 2, 0).flatten().sigmoid()[anchors]
        deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
        return likely, scores, places - anchors * head.num_classes, deltas[anchors], priors[anchors]


class TwoStageProgram(nn.Module):
    """(1, 3, H, W) to boxes (N, 4), scores (N,), labels (N,), and masks (N, h, w) over the boxes if it finds masks."""

    def __init__(self, detector: TwoStageDetector):
        super().__init__()
        self.detector = detector
        self.outputs = ("boxes", "scores", "labels") + (("masks",) if detector.roi_head.with_mask else ())

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        maps = self.detector.extract_feat(image)
        boxes, scores, labels = self._classify(maps, self._propose(maps, image), image)
        if not self.detector.roi_head.with_mask:
            return boxes, scores, labels
        return boxes, scores, labels, self._outline(maps, boxes, labels)

    def _propose(self, maps: tuple[Tensor, ...], image: Tensor) -> Tensor:
        head = self.detector.rpn_head
        cfg = head.test_cfg
        found = []
        for i, (logits, deltas) in enumerate(zip(*head(maps), strict=True)):
            priors = head.prior_generator.single_level_grid_priors(logits.shape[-2:], i, logits.dtype, logits.device)
            logits = logits[0].permute(1, 2, 0).reshape(-1, head.cls_out_channels)
            scores = logits.sigmoid() if head.use_sigmoid_cls else logits.softmax(-1)[:, :-1]
            scores, places = best(scores.squeeze(1), cfg.get("nms_pre", -1))
            deltas = deltas[0].permute(1, 2, 0).reshape(-1, 4)
            found.append((scores, deltas[places], priors[places], torch.full_like(places, i)))
        scores, deltas, priors, levels = (torch.cat(values) for values in zip(*found, strict=True))
        boxes = decode(priors, deltas, head.bbox_coder, image)
        boxes, scores, levels = keep(wide_enough(boxes, cfg), boxes, scores, levels)
        return boxes[suppress(boxes, scores, levels, cfg.nms, cfg.max_per_img)]

    def _classify(self, maps: tuple[Tensor, ...], boxes: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        head, cfg = self.detector.roi_head.bbox_head, self.detector.roi_head.test_cfg
        pooled, order = pool_regions(self.detector.roi_head.bbox_roi_extractor, maps, boxes)
        boxes = boxes[order]
        logits, deltas = head(pooled)
        scores = logits.softmax(-1)[:, :-1]
        region, label = (scores > cfg.score_thr).nonzero().unbind(1)
        scores = scores[region, label]
        deltas = deltas.view(-1, 1 if head.reg_class_agnostic else head.num_classes, 4)
        deltas = deltas[region, torch.zeros_like(label) if head.reg_class_agnostic else label]
        boxes = decode(boxes[region], deltas, head.bbox_coder, image)
        kept = suppress(boxes, scores, label, cfg.nms, cfg.max_per_img)
        return boxes[kept], scores[kept], label[kept]

    def _outline(self, maps: tuple[Tensor, ...], boxes: Tensor, labels: Tensor) -> Tensor:
        """Probabilities over each box of being the object."""
        roi_head = self.detector.roi_head
        pooled, order = pool_regions(roi_head.mask_roi_extractor, maps, boxes)
        logits = roi_head.mask_head(pooled)
        labels = torch.zeros_like(order) if roi_head.mask_head.class_agnostic else labels[order]
        masks = logits[torch.arange(logits.shape[0], device=logits.device), labels].sigmoid()
        return masks[order.argsort()]


def why_not(detector: nn.Module) -> str | None:
    """The reason for which a detector cannot be exported whole, or None if it can."""
    if type(detector.data_preprocessor).__name__ != "DetDataPreprocessor":
        return f"its data preprocessor is {type(detector.data_preprocessor).__name__}"
    if isinstance(detector, TwoStageDetector):
        return _why_not_two_stage(detector)
    if isinstance(detector, SingleStageDetector):
        if type(getattr(detector, "bbox_head", None)) not in (RetinaHead, ATSSHead):  # Mask2Former has none
            return f"it is a {type(detector).__name__} whose head is neither RetinaHead nor ATSSHead"
        return _why_not_anchors(detector.bbox_head)
    return f"it is a {type(detector).__name__}: neither RetinaNet, ATSS nor Faster or Mask R-CNN"


def _why_not_two_stage(detector: TwoStageDetector) -> str | None:
    roi_head = detector.roi_head
    if type(detector.rpn_head) is not RPNHead or type(roi_head) is not StandardRoIHead:
        return f"its heads are {type(detector.rpn_head).__name__} and {type(roi_head).__name__}"
    if roi_head.with_shared_head or not isinstance(roi_head.bbox_head, BBoxHead):
        return f"its box head is {type(roi_head.bbox_head).__name__}"
    if roi_head.with_mask and not isinstance(roi_head.mask_head, FCNMaskHead):
        return f"its mask head is {type(roi_head.mask_head).__name__}"
    extractors = [roi_head.bbox_roi_extractor] + ([roi_head.mask_roi_extractor] if roi_head.with_mask else [])
    if any(type(extractor) is not SingleRoIExtractor for extractor in extractors):
        return "its regions are not pooled by SingleRoIExtractor"
    if roi_head.test_cfg.nms.get("type", "nms") != "nms":
        return f"its boxes are suppressed by {roi_head.test_cfg.nms.type}"
    if type(roi_head.bbox_head.bbox_coder) is not DeltaXYWHBBoxCoder:
        return f"its boxes are coded by {type(roi_head.bbox_head.bbox_coder).__name__}"
    return _why_not_anchors(detector.rpn_head)


def _why_not_anchors(head: nn.Module) -> str | None:
    if type(head.prior_generator) is not AnchorGenerator:
        return f"its anchors are of {type(head.prior_generator).__name__}"
    if type(head.bbox_coder) is not DeltaXYWHBBoxCoder or head.bbox_coder.add_ctr_clamp:
        return f"its boxes are coded by {type(head.bbox_coder).__name__}"
    if head.test_cfg.nms.get("type", "nms") != "nms":
        return f"its boxes are suppressed by {head.test_cfg.nms.type}"
    return None
