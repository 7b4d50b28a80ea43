"""The official COCO recipe for tests: published figures, and detectors built of its configs."""

import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS, init_default_scope
from torch import nn

import maxvit_dense.openmmlab.official  # noqa: F401
from tests.config_files import find, load

# side, learning rate, weight decay, survival probability, length of the cosine, steps: one published file each, except
# T at 896, which takes the paper's rate and probability.
PUBLISHED = {
    "t_640": (640, 2e-3, 1e-4, 0.3, 115_750, 90_000),
    "b_640": (640, 2e-3, 1e-4, 0.7, 115_750, 90_000),
    "t_896": (896, 1e-3, 0.05, 0.8, 90_000, 90_000),
    "s_896": (896, 3e-3, 0.05, 0.5, 90_000, 115_750),
    "b_896": (896, 3e-3, 0.05, 0.2, 90_000, 90_000),
}


def official(size: str) -> Config:
    return Config.fromfile(find(f"cascade_maskrcnn_maxvit_{size}_coco"))


def build_detector() -> nn.Module:
    """The whole T at 896, with random weights."""
    init_default_scope("mmdet")
    model = ConfigDict(official("t_896").model)
    model.backbone.init_cfg = None
    return MODELS.build(model)


def build_small_detector() -> nn.Module:
    """The same recipe with the mini backbone and thin heads, for a forward pass."""
    torch.manual_seed(0)
    model = load("demo_cascade_official_maxvit_mini_sample").model
    model.data_preprocessor.pad_size_divisor = 64
    model = MODELS.build(model)
    model.init_weights()
    return model
