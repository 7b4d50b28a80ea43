"""mmcv's sigmoid focal loss without a compiler, against its definition written out in plain loops."""

import pytest
import torch

from tests.mmcv_operators import HALVES, mmcv, weighted_grads


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
