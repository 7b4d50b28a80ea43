"""Steps of a pipeline that look at what was loaded, and leave out what the command line says."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from ....errors import InputError
from ...config.parts import type_name
from ..layouts.coco_check import CLIPPED_SHARE, share_outside
from ..layouts.mask_files import read_mask
from ..layouts.mask_folders import IGNORED_LABEL

_LOADER, _ANNOTATION_LOADER = "LoadImageFromFile", "LoadAnnotations"
_CHECK_TOOL = "tools/check_dataset.py reads all files and lists what is wrong."


@TRANSFORMS.register_module()
class CheckLoaded(BaseTransform):
    """Refuse an image that is not of its annotated size, and a mask that does not fit its image or its classes.

    Stands behind ``LoadAnnotations``. Without it, a wrong label ends in an index error of the loss, on a GPU in one
    that names nothing, and a wrong size in boxes beside their objects.

    Args:
        num_classes: that masks may hold, from 0; None where there are no masks.
    """

    def __init__(self, num_classes: int | None = None):
        self.num_classes = num_classes

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Compare ``ori_shape`` with ``height`` and ``width``, and ``gt_seg_map`` with both its image and classes.

        Raises:
            InputError: they do not fit; the text names the file.
        """
        shape = tuple(results["ori_shape"][:2])
        annotated = (results.get("height", shape[0]), results.get("width", shape[1]))
        if shape != annotated:
            size = f"annotated {annotated[1]}x{annotated[0]} pixels, and read as {shape[1]}x{shape[0]}"
            raise InputError(f"{results['img_path']} is {size}. Export its annotations again. {_CHECK_TOOL}")
        if self.num_classes is not None and "gt_seg_map" in results:  # which inference on new images leaves out
            self._check_labels(results["gt_seg_map"], shape, results["seg_map_path"])
        return results

    def _check_labels(self, labels: np.ndarray, shape: tuple[int, int], path: str) -> None:
        if labels.shape != shape:
            size = "x".join(map(str, labels.shape[1::-1] + labels.shape[2:]))
            raise InputError(f"Mask {path} is {size} pixels, and its image {shape[1]}x{shape[0]}. {_CHECK_TOOL}")
        if np.any((labels >= self.num_classes) & (labels != IGNORED_LABEL)):
            values = ", ".join(map(str, sorted(read_mask(path).values)))
            raise InputError(
                f"Mask {path} holds a value outside the {self.num_classes} classes; its values are {values}. Correct "
                f"it, or list the classes. {_CHECK_TOOL}"
            )


@TRANSFORMS.register_module()
class DropOutsideBoxes(BaseTransform):
    """Leave out annotated instances whose box reaches outside the image (``--bad-boxes skip``).

    Stands first in a pipeline: it needs only what the data set read from the annotation file.

    Args:
        clipped: share of a box that may lie outside: the pipeline clips it.
    """

    def __init__(self, clipped: float = CLIPPED_SHARE):
        self.clipped = clipped

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Filter ``results["instances"]`` by their ``bbox`` (x1, y1, x2, y2 in pixels)."""
        instances = results.get("instances", [])
        boxes = np.array([item["bbox"] for item in instances], dtype=np.float64).reshape(-1, 4)
        outside = ~(share_outside(boxes, results["width"], results["height"]) <= self.clipped)
        kept = [item for item, out in zip(instances, outside, strict=True) if not out]
        return {**results, "instances": kept}


def add_check(pipeline: Sequence[Mapping[str, Any]], num_classes: int | None = None) -> list[Mapping[str, Any]]:
    """``pipeline`` with a ``CheckLoaded`` behind its ``LoadAnnotations``, once."""
    steps = []
    for step in pipeline:
        if step["type"] == CheckLoaded.__name__:
            continue
        steps.append(step)
        if type_name(step) == _ANNOTATION_LOADER:
            steps.append(dict(type=CheckLoaded.__name__, num_classes=num_classes))
    return steps


def reads_as_usual(pipeline: Sequence[Mapping[str, Any]]) -> bool:
    """Images are read as ``image_check`` says: by OpenCV, in 8-bit colour."""
    loader = next((step for step in pipeline if type_name(step) == _LOADER), None)
    usual = dict(color_type="color", imdecode_backend="cv2")
    return loader is not None and all(loader.get(key, value) == value for key, value in usual.items())
