"""What mmdet lacks of the official COCO recipe (tensorflow/models official/projects/maxvit); docs/official_recipe.md.

Named by the configs that need it, since it imports mmdet:

    custom_imports = dict(imports=["maxvit_dense.openmmlab", "maxvit_dense.openmmlab.official"], ...)
"""

from .heads import LevelNormRPNHead, NormFCBBoxHead, NormFCNMaskHead, OneMaskCascadeRoIHead
from .huber import MeanHuberLoss
from .training import LimitInstances, WarmupCosineLR

__all__ = [
    "LevelNormRPNHead",
    "LimitInstances",
    "MeanHuberLoss",
    "NormFCBBoxHead",
    "NormFCNMaskHead",
    "OneMaskCascadeRoIHead",
    "WarmupCosineLR",
]
