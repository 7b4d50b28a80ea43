"""Box regression loss of the official recipe."""

import torch.nn.functional as F
from mmdet.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class MeanHuberLoss(nn.Module):
    """Huber loss, averaged over the coordinates of the boxes that are matched with an object.

    mmdet's own losses divide by the number of all sampled boxes, which is the same only where every sample found its
    full share of objects. The official code divides by the matched coordinates, plus a hundredth against division by
    zero, and so for each level of the region proposal network
    (tensorflow/models official/vision/losses/maskrcnn_losses.py, RpnBoxLoss and FastrcnnBoxLoss).

    Args:
        delta: difference at which the loss turns from quadratic to linear, in encoded box units.
        loss_weight: factor on the mean.
    """

    def __init__(self, delta: float = 1.0, loss_weight: float = 1.0):
        super().__init__()
        self.delta = delta
        self.loss_weight = loss_weight

    def forward(self, pred: Tensor, target: Tensor, weight: Tensor | None = None, **kwargs) -> Tensor:
        """(N, 4) each; ``weight`` is 1 for coordinates that count, else 0. mmdet's averaging factor is not used."""
        weight = pred.new_ones(pred.shape) if weight is None else weight
        losses = F.huber_loss(pred, target, reduction="none", delta=self.delta)
        return self.loss_weight * (losses * weight).sum() / (weight.sum() + 0.01)
