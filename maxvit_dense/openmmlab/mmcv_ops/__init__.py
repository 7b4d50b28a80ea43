"""mmcv's compiled operators, replaced where mmcv was installed without a compiler.

Such an mmcv lacks the module `mmcv._ext`, and `mmcv.ops` fails to import. After `install()` the import system
finds `mmcv._ext` in this package, unless a compiled one exists: that always wins.

Works, on CPU and CUDA, in float64, float32, float16 and bfloat16 (computed in at least float32):

    mmcv.ops                                    computed by
    nms, batched_nms                            torchvision
    soft_nms                                    PyTorch; on the CPU, as in mmcv
    RoIAlign, roi_align (pool_mode "avg")       torchvision, forward and backward
    MultiScaleDeformableAttention               mmcv's own PyTorch version, forward and backward
    sigmoid_focal_loss, SigmoidFocalLoss        PyTorch, forward and backward
    point_sample, SimpleRoIAlign, CornerPool,   PyTorch in mmcv itself, untouched
    CrissCrossAttention, merge_cells

That is all that mmdet's Mask R-CNN, Cascade R-CNN, RetinaNet, DINO and Mask2Former and mmseg's UPerNet, FPN
and Mask2Former heads call. Every other operator (deformable convolution, CARAFE, RoIPool, max-mode RoIAlign,
nms_match, nms_rotated, softmax_focal_loss, mmcv's own SyncBatchNorm, point clouds, ...) can be imported; when
called it raises NotImplementedError naming itself and the command that compiles mmcv.
"""

import importlib.util
import logging
import sys
import warnings
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_NAME = "mmcv._ext"
_SOURCE = Path(__file__).with_name("ext.py")
# When mmcv.ops fails to import, these bind placeholders for its operators, for good.
_BINDS_OPERATORS = ("mmdet.structures", "mmdet.models", "mmseg.models")

_logger = logging.getLogger(__name__)


class _ExtFinder(MetaPathFinder):
    """Finds `mmcv._ext` in this package. Stands last on sys.meta_path: a compiled one is found first."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _NAME:
            return None
        return importlib.util.spec_from_file_location(_NAME, _SOURCE)


def install() -> bool:
    """Make `import mmcv._ext` work without a compiled mmcv. To be called before mmcv.ops, mmdet or mmseg.

    May be called any number of times. Imports neither mmcv nor torchvision.

    Returns True when the operators of this package are in place, False when a compiled `mmcv._ext` exists and
    nothing was done. Warns when mmdet or mmseg came first and holds placeholders that cannot be replaced.
    """
    if _other_ext_exists():
        _logger.debug("a compiled %s exists and is used", _NAME)
        return False
    if not any(isinstance(finder, _ExtFinder) for finder in sys.meta_path):
        _warn_when_too_late()
        sys.meta_path.append(_ExtFinder())
    return True


def _other_ext_exists() -> bool:
    loaded = sys.modules.get(_NAME)
    if loaded is not None:
        return getattr(loaded, "__file__", None) != str(_SOURCE)
    # find_spec(_NAME) would import mmcv; these two steps do not.
    parent = importlib.util.find_spec("mmcv")
    return parent is not None and PathFinder.find_spec(_NAME, parent.submodule_search_locations) is not None


def _warn_when_too_late() -> None:
    early = [name for name in _BINDS_OPERATORS if name in sys.modules]
    if early:
        warnings.warn(
            f"{', '.join(early)} was imported before maxvit_dense.openmmlab, found no operators in mmcv and "
            "raises when it needs one (to train masks, for example). Import maxvit_dense.openmmlab first.",
            stacklevel=3,
        )
