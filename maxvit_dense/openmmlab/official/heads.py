"""Heads of the official recipe where mmdet's differ: norms in more places, and one mask head for all stages.

Sources: tensorflow/models official/vision/modeling, heads/dense_prediction_heads.py (RPNHead), heads/instance_heads.py
(DetectionHead, MaskHead) and maskrcnn_model.py.
"""

from typing import Any

import torch.nn.functional as F
from mmcv.cnn import build_norm_layer
from mmdet.models.dense_heads import RPNHead
from mmdet.models.roi_heads import CascadeRoIHead
from mmdet.models.roi_heads.bbox_heads import ConvFCBBoxHead
from mmdet.models.roi_heads.mask_heads import FCNMaskHead
from mmdet.models.task_modules.samplers import SamplingResult
from mmdet.models.utils import empty_instances, multi_apply
from mmdet.registry import MODELS
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import Tensor, nn


def _norm(norm_cfg: dict[str, Any], channels: int) -> nn.Module:
    return build_norm_layer(norm_cfg, channels)[1]


@MODELS.register_module()
class LevelNormRPNHead(RPNHead):
    """Region proposal head whose convolutions are shared by the levels, each behind a norm of the level's own.

    Args:
        norm_cfg: norm of every convolution and level.
        kwargs: as of ``RPNHead``.
    """

    def __init__(self, *args, norm_cfg: dict[str, Any], **kwargs):
        self.norm_cfg = norm_cfg
        super().__init__(*args, **kwargs)

    def _init_layers(self) -> None:
        super()._init_layers()
        self.rpn_conv = nn.ModuleList(
            nn.Conv2d(self.feat_channels if i else self.in_channels, self.feat_channels, 3, padding=1)
            for i in range(self.num_convs)
        )
        self.rpn_norms = nn.ModuleList(
            nn.ModuleList(_norm(self.norm_cfg, self.feat_channels) for _ in range(self.num_convs))
            for _ in range(self.prior_generator.num_levels)
        )

    def forward(self, x: tuple[Tensor, ...]) -> tuple[list[Tensor], list[Tensor]]:
        """One map (B, C, H, W) a level -> scores (B, anchors, H, W) and box deltas (B, 4 anchors, H, W) of each."""
        return multi_apply(self._forward_level, x, self.rpn_norms)

    def _forward_level(self, x: Tensor, norms: nn.ModuleList) -> tuple[Tensor, Tensor]:
        for conv, norm in zip(self.rpn_conv, norms, strict=True):
            x = F.relu(norm(conv(x)))
        return self.rpn_cls(x), self.rpn_reg(x)


@MODELS.register_module()
class NormFCBBoxHead(ConvFCBBoxHead):
    """Box head of one hidden layer with a norm behind it too.

    ``norm_cfg`` must be one of vectors as of maps, as SyncBN is.

    Raises:
        ValueError: more hidden layers, or ones of a branch.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        hidden = (self.num_shared_fcs, self.num_cls_fcs, self.num_reg_fcs)
        if hidden != (1, 0, 0):
            raise ValueError(f"(num_shared_fcs, num_cls_fcs, num_reg_fcs)={hidden}: NormFCBBoxHead has (1, 0, 0)")
        # The base class applies its activation behind hidden layers alone, of which there is one.
        self.relu = nn.Sequential(_norm(self.norm_cfg, self.fc_out_channels), self.relu)


@MODELS.register_module()
class NormFCNMaskHead(FCNMaskHead):
    """Mask head with a norm behind its upsampling too."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.upsample_norm = _norm(self.norm_cfg, self.conv_out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, classes, 2S, 2S) logits."""
        for conv in self.convs:
            x = conv(x)
        return self.conv_logits(F.relu(self.upsample_norm(self.upsample(x))))


@MODELS.register_module()
class OneMaskCascadeRoIHead(CascadeRoIHead):
    """Cascade of box heads with one mask head: it learns from the last stage's regions, and segments the final boxes.

    Its loss is not weighted by the stage's weight, which averages the losses of boxes and classes over the stages.
    """

    def init_mask_head(self, mask_roi_extractor: dict[str, Any], mask_head: dict[str, Any]) -> None:
        super().init_mask_head(mask_roi_extractor, mask_head)
        self.mask_head = self.mask_head[-1:]
        self.mask_roi_extractor = self.mask_roi_extractor[-1:]

    def mask_loss(
        self,
        stage: int,
        x: tuple[Tensor, ...],
        sampling_results: list[SamplingResult],
        batch_gt_instances: list[InstanceData],
    ) -> dict[str, Any]:
        """As of ``CascadeRoIHead``; nothing before the last stage."""
        if stage < self.num_stages - 1:
            return dict(loss_mask={})
        results = super().mask_loss(-1, x, sampling_results, batch_gt_instances)
        weight = self.stage_loss_weights[-1]  # the caller multiplies by it
        results["loss_mask"] = {name: value / weight for name, value in results["loss_mask"].items()}
        return results

    def predict_mask(
        self,
        x: tuple[Tensor, ...],
        batch_img_metas: list[dict],
        results_list: list[InstanceData],
        rescale: bool = False,
    ) -> list[InstanceData]:
        """Adds ``masks`` (N, H, W) to the boxes of each image; the base class averages over its stages' heads."""
        boxes = [results.bboxes for results in results_list]
        rois = bbox2roi(boxes)
        if len(rois) == 0:
            return empty_instances(
                batch_img_metas,
                rois.device,
                task_type="mask",
                instance_results=results_list,
                mask_thr_binary=self.test_cfg.mask_thr_binary,
            )
        logits = self._mask_forward(-1, x, rois)["mask_preds"].split([len(b) for b in boxes])
        return self.mask_head[-1].predict_by_feat(
            mask_preds=logits,
            results_list=results_list,
            batch_img_metas=batch_img_metas,
            rcnn_test_cfg=self.test_cfg,
            rescale=rescale,
        )
