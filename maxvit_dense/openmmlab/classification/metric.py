"""Accuracy of a classifier."""

from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS


@METRICS.register_module()
class TopAccuracy(BaseMetric):
    """Share of images whose class is among the k highest scores, in percent: ``accuracy/top1``, ``accuracy/top5``.

    Images that could not be read (label -1) do not count.

    Args:
        topk: the values of k; those above the number of classes are taken as that number.
    """

    default_prefix = "accuracy"

    def __init__(self, topk: Sequence[int] = (1, 5), **kwargs: Any):
        super().__init__(**kwargs)
        self.topk = tuple(topk)

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Takes ``dict(scores=(classes,), label=int)`` of each image."""
        for sample in data_samples:
            scores, label = sample["scores"], int(sample["label"])
            best = scores.topk(min(max(self.topk), len(scores))).indices.tolist()
            self.results.append([label in best[:k] for k in self.topk] if label >= 0 else None)

    def compute_metrics(self, results: list) -> dict[str, float]:
        counted = [hits for hits in results if hits is not None]
        return {
            f"top{k}": 100.0 * sum(hits[i] for hits in counted) / max(len(counted), 1) for i, k in enumerate(self.topk)
        }
