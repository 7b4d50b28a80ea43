"""Grad-CAM looks into a stage."""

import pytest
import timm
import torch

cam = pytest.importorskip("pytorch_grad_cam", reason="needs grad-cam (requirements/clients.txt)")

import maxvit_dense  # noqa: E402, F401  registers the timm names
from tests.networks import fill_with_noise  # noqa: E402


def test_grad_cam_gives_a_map_of_the_images_size():
    network = fill_with_noise(timm.create_model("maxvit_mini", num_classes=3)).eval()
    with cam.GradCAM(network, [network.stages[2]]) as explain:
        heat = explain(torch.randn(2, 3, 70, 90), targets=None)  # of the likeliest class
    assert heat.shape == (2, 70, 90) and heat.max() > 0
