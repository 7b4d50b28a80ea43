"""Categories of a COCO file in the order of a model's classes.

mmdet numbers labels by the order of the file, whatever that of ``metainfo["classes"]`` is: a model that learnt from one
file was measured on another by wrong names.
"""

from collections.abc import Sequence
from typing import Any

from mmdet.datasets.api_wrappers import COCO
from mmengine.registry import DATASETS, METRICS

from .coco_dataset import CocoFileDataset, CocoFileMetric, SharedCoco


def ids_in_order(coco: COCO, names: Sequence[str]) -> list[int]:
    """Ids of the categories of these names, in their order; names that the file lacks have none."""
    by_name = {category["name"]: category["id"] for category in coco.load_cats(coco.get_cat_ids())}
    return [by_name[name] for name in names if name in by_name]


class _OrderedCoco(SharedCoco):

    def get_cat_ids(self, cat_names: Sequence[str] = (), sup_names: Any = (), cat_ids: Any = ()) -> list[int]:
        if cat_names and not sup_names and not cat_ids:
            return ids_in_order(super(), cat_names)
        return super().get_cat_ids(cat_names, sup_names, cat_ids)


@DATASETS.register_module()
class OrderedCocoDataset(CocoFileDataset):
    """mmdet's, with labels in the order of ``metainfo["classes"]``."""

    COCOAPI = _OrderedCoco


@METRICS.register_module()
class OrderedCocoMetric(CocoFileMetric):
    """mmdet's, with labels in the order of the data set's classes."""

    def compute_metrics(self, results: list) -> dict[str, float]:
        self.cat_ids = ids_in_order(self._coco_api, self.dataset_meta["classes"])
        return super().compute_metrics(results)
