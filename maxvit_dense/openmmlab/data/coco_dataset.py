"""mmdet's COCO data set and metric over the one parse of each file (``coco_file``), put right as the checks saw it."""

import io
import os
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import partial
from typing import Any

from mmdet.datasets import CocoDataset
from mmdet.datasets.api_wrappers import COCO
from mmdet.evaluation import CocoMetric
from mmengine.registry import DATASETS, METRICS

from .choice import adapted
from .layouts.coco_file import free_annotations, read_annotations


class SharedCoco(COCO):
    """pycocotools' index over what ``coco_file.read_annotations`` returned, as ``choice.adapted`` has it."""

    def __init__(
        self,
        annotation_file: str | os.PathLike,
        categories: Sequence[Sequence[str]] | None = None,
        boxes_as_masks: bool = False,
    ):
        super().__init__()
        self.dataset = adapted(read_annotations(annotation_file), categories, boxes_as_masks, annotation_file)
        with redirect_stdout(io.StringIO()):  # it prints that it makes an index
            self.createIndex()
        self.img_ann_map, self.cat_img_map = self.imgToAnns, self.catToImgs


@DATASETS.register_module()
class CocoFileDataset(CocoDataset):
    """``CocoDataset`` of a file of this machine.

    mmdet numbers labels by the order of a file's categories; here ``categories`` gives it.

    Args:
        categories: (name in the file, class) in the order of classes; by default those of the file.
        boxes_as_masks: a box stands for a mask that is missing.
        kwargs: of ``CocoDataset``.
    """

    def __init__(
        self, *, categories: Sequence[Sequence[str]] | None = None, boxes_as_masks: bool = False, **kwargs: Any
    ):
        self.COCOAPI = partial(SharedCoco, categories=categories, boxes_as_masks=boxes_as_masks)
        super().__init__(**kwargs)
        if not self.test_mode and self._fully_initialized:  # made once; the metric of another holds its file anyway
            free_annotations(self.ann_file)


@METRICS.register_module()
class CocoFileMetric(CocoMetric):
    """``CocoMetric`` of a file of this machine.

    Args:
        ann_file: of the ground truth.
        metric: as of ``CocoMetric``, and the rest likewise.
        categories, boxes_as_masks: as of ``CocoFileDataset``.
    """

    def __init__(
        self,
        ann_file: str,
        metric: str | Sequence[str] = "bbox",
        categories: Sequence[Sequence[str]] | None = None,
        boxes_as_masks: bool = False,
        **kwargs: Any,
    ):
        super().__init__(metric=metric, **kwargs)
        self._coco_api = SharedCoco(ann_file, categories, boxes_as_masks)
