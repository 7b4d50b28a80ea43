"""MaxViT for OpenMMLab: backbone, optimizer rules, and mmcv's operators where none were compiled.

Importing registers these, and teaches mmengine the config prefix ``maxvit_dense::``; nothing else changes for others.

Name it in a config before anything of mmdet or mmseg is built:

    custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

``load("work_dirs/my_run")`` is a trained model that is called with images and gives plain numpy.
"""

from .mmcv_ops import install as _install_mmcv_ops

_install_mmcv_ops()  # before the first import of mmcv.ops, which mmdet and mmseg do

from .config.base import register_prefix  # noqa: E402

register_prefix()

from . import classification, sharded  # noqa: E402, F401 (they register themselves)
from .backbones.maxvit import CoAtNet, MaxViT  # noqa: E402
from .backbones.timm_features import TimmFeatures  # noqa: E402
from .data import draws  # noqa: E402, F401 (they register themselves)
from .data.checking.pixel_check import DropOutsideBoxes  # noqa: E402
from .engine import training_guard  # noqa: E402, F401 (they register themselves)
from .engine.crop_size import CropSizeHook  # noqa: E402
from .engine.step_record import PeakMemoryHook  # noqa: E402
from .optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from .report import CurvesHook, ReportHook  # noqa: E402

__all__ = [
    "CoAtNet",
    "CropSizeHook",
    "CurvesHook",
    "DropOutsideBoxes",
    "LayerDecayOptimWrapperConstructor",
    "MaxViT",
    "PeakMemoryHook",
    "ReportHook",
    "TimmFeatures",
    "load",
]


def __getattr__(name: str):
    """``load`` brings mmdet, which those who register the backbone for another toolbox may not have."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .inference.predictor import load

    return load
