"""torchvision's Mask R-CNN over our maps."""

from collections import OrderedDict

import timm
import torch
from torch import nn
from torchvision.models.detection import MaskRCNN
from torchvision.ops import FeaturePyramidNetwork

import maxvit_dense  # noqa: F401  registers the timm names


class Backbone(nn.Module):
    out_channels = 64

    def __init__(self):
        super().__init__()
        self.body = timm.create_model("maxvit_mini", features_only=True, out_indices=(1, 2, 3, 4))
        self.fpn = FeaturePyramidNetwork(self.body.feature_info.channels(), self.out_channels)

    def forward(self, x):
        return self.fpn(OrderedDict((str(i), m) for i, m in enumerate(self.body(x))))


def test_mask_rcnn_trains_and_predicts():
    from torchvision.models.detection.anchor_utils import AnchorGenerator

    anchors = AnchorGenerator(((16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 4)
    detector = MaskRCNN(Backbone(), 3, rpn_anchor_generator=anchors, min_size=96, max_size=128)
    images = [torch.rand(3, 90, 130), torch.rand(3, 120, 77)]
    masks = torch.zeros(1, 90, 130), torch.zeros(1, 120, 77)
    boxes = torch.tensor([[10.0, 10.0, 60.0, 50.0]])
    targets = []
    for mask in masks:
        mask[:, 10:50, 10:60] = 1
        targets.append(dict(boxes=boxes, labels=torch.tensor([1]), masks=mask.to(torch.uint8)))
    sum(detector.train()(images, targets).values()).backward()
    assert all(p.grad is not None for p in detector.backbone.body.parameters() if p.requires_grad)
    with torch.no_grad():
        found = detector.eval()(images)
    assert [sorted(f) for f in found] == [["boxes", "labels", "masks", "scores"]] * 2
