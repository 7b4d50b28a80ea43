"""Sigmoid focal loss (https://arxiv.org/abs/1708.02002): mmcv's forward and backward.

Shapes: input (N, C) logits; target (N,) int64, the class of each row, values outside 0 ... C-1 being
background; weight (C,), a factor for rows of each class, or empty.
"""

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from maxvit_dense.openmmlab.mmcv_ops.precision import at_least_float32


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the loss of each logit into `output` (N, C)."""
    output.copy_(_loss(input, target, weight, gamma, alpha))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write d loss / d logit into `grad_input` (N, C); mmcv multiplies it by the gradient of the output."""
    logits = input.detach().requires_grad_()
    with torch.enable_grad():
        loss = _loss(logits, target, weight, gamma, alpha).sum()
    grad_input.copy_(torch.autograd.grad(loss, logits)[0])


def _loss(logits: Tensor, target: Tensor, weight: Tensor, gamma: float, alpha: float) -> Tensor:
    logits, weight = at_least_float32(logits, weight)
    positive = target[:, None] == torch.arange(logits.shape[1], device=target.device)
    margin = torch.where(positive, logits, -logits)  # p_t = sigmoid(margin)
    balance = torch.where(positive, alpha, 1 - alpha)
    # (1 - p_t)**gamma as an exponential: finite with a finite gradient for every logit and gamma.
    loss = -balance * torch.exp(gamma * logsigmoid(-margin)) * logsigmoid(margin)
    return loss * _row_weight(target, weight)[:, None] if weight.numel() else loss


def _row_weight(target: Tensor, weight: Tensor) -> Tensor:
    # mmcv's kernel reads past the end of `weight` for a background row; here it counts fully.
    known = (target >= 0) & (target < len(weight))
    return torch.where(known, weight[target.clamp(0, len(weight) - 1)], 1.0)
