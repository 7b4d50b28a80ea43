"""mmdet's COCO data set and metric over the one parse of each file (``coco_file``), put right as the checks saw it."""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.registry import DATASETS, METRICS

from .coco_file import take_annotations


class SharedCoco(COCO):
    """pycocotools' index over what ``coco_file.read_annotations`` returned."""

    def __init__(self, annotation_file: str | os.PathLike):
        super().__init__()
        self.dataset = take_annotations(annotation_file)
        with redirect_stdout(io.StringIO()):  # it prints that it makes an index
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


@DATASETS.register_module()
class CocoFileDataset(CocoDataset):
    """``CocoDataset`` of a file of this machine."""

    COCOAPI = SharedCoco


@METRICS.register_module()
class CocoFileMetric(CocoMetric):
    """``CocoMetric`` of a file of this machine.

    Args:
        ann_file: of the ground truth.
        metric: as of ``CocoMetric``, and the rest likewise.
    """

    def __init__(self, ann_file: str, metric: str | Sequence[str] = "bbox", **kwargs: Any):
        super().__init__(metric=metric, **kwargs)
        self._coco_api = SharedCoco(ann_file)
