"""ImageNet training on mmengine's Runner: timm's images, augmentation, mixing and losses around any timm network.

Named by ``maxvit_dense.openmmlab``; nothing here needs mmdet or mmseg.
"""

from ..data.class_dataset import ClassFolders
from .classifier import ImageBatch, ImageClassifier
from .hooks import ImageStreamHook, StepEMAHook, ThroughputHook
from .metric import TopAccuracy
from .sampler import EpochSampler

__all__ = [
    "ClassFolders",
    "EpochSampler",
    "ImageBatch",
    "ImageClassifier",
    "ImageStreamHook",
    "StepEMAHook",
    "ThroughputHook",
    "TopAccuracy",
]
