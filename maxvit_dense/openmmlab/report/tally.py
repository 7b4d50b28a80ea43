"""Counts of one evaluation: which class was taken for which, and the images with most mistakes."""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import box_iou

MIN_SCORE = 0.3  # as mmdet's own confusion matrix has it
MIN_IOU = 0.5
WORST = 10


@dataclass(order=True)
class Mistakes:
    """One image and what is wrong in it.

    Attributes:
        badness: missed and false objects, or the share of pixels with a wrong label; images are ordered by it.
        order: in which images came, between equally bad ones.
        path: of the image.
        missed, false: boxes (x1, y1, x2, y2) in pixels of the image, with the names of their classes.
        wrong: (h, w) bool, the pixels with a wrong label; None for detectors.
    """

    badness: float
    order: int
    path: str = field(compare=False)
    missed: list[tuple[list[float], str]] = field(default_factory=list, compare=False)
    false: list[tuple[list[float], str]] = field(default_factory=list, compare=False)
    wrong: np.ndarray | None = field(default=None, compare=False)


class Tally:
    """Adds up an evaluation, image by image.

    Args:
        classes: names in the order of their labels.

    Attributes:
        confusion: (n + 1, n + 1) counts, truth by row and found by column: objects of a detector, where n stands for
            none; pixels of a segmentor; images of a classifier.
        worst: a heap of the images with most mistakes.
        kind: "objects", "pixels" or "images", None where nothing could be compared.
    """

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.confusion = np.zeros((len(classes) + 1, len(classes) + 1), dtype=np.int64)
        self.worst: list[Mistakes] = []
        self.kind: str | None = None
        self._seen = 0

    def add(self, sample: Any) -> None:
        """Takes what a model's ``val_step`` returns of one image; a sample without its truth is passed over."""
        if isinstance(sample, Mapping):
            self._add_image(sample)
        elif "pred_sem_seg" in sample and "gt_sem_seg" in sample:
            self._add_pixels(sample)
        elif "pred_instances" in sample and "gt_instances" in sample and "bboxes" in sample.gt_instances:
            self._add_objects(sample)

    def merge(self, other: "Tally") -> None:
        """Adds what another process counted."""
        self.confusion += other.confusion
        self.kind = self.kind or other.kind
        self.worst = heapq.nlargest(WORST, self.worst + other.worst)

    def _add_image(self, sample: Mapping[str, Any]) -> None:
        label = int(sample.get("label", -1))
        if label >= 0 and "scores" in sample:
            self.kind = "images"
            self.confusion[label, int(sample["scores"].argmax())] += 1

    def _add_pixels(self, sample: Any) -> None:
        self.kind = "pixels"
        truth, found = (np.asarray(part.data[0].cpu()) for part in (sample.gt_sem_seg, sample.pred_sem_seg))
        count, real = len(self.classes), truth < len(self.classes)  # the others are void
        pairs = truth[real].astype(np.int64) * (count + 1) + np.minimum(found[real], count)
        self.confusion += np.bincount(pairs, minlength=(count + 1) ** 2).reshape(count + 1, count + 1)
        wrong = real & (truth != found)
        self._keep(wrong.sum() / max(real.sum(), 1), sample, wrong=wrong)

    def _add_objects(self, sample: Any) -> None:
        self.kind = "objects"
        truth, found = sample.gt_instances, sample.pred_instances
        found = found[found.scores >= MIN_SCORE]
        boxes = truth.bboxes.tensor if hasattr(truth.bboxes, "tensor") else truth.bboxes
        partners = match(boxes.cpu().float(), found.bboxes.cpu().float(), truth.labels.cpu(), found.labels.cpu())
        none, of_found = len(self.classes), [None] * len(found)
        missed, false = [], []
        for i, (label, box, partner) in enumerate(zip(truth.labels.tolist(), boxes.tolist(), partners, strict=True)):
            taken_for = none if partner is None else int(found.labels[partner])
            self.confusion[label, taken_for] += 1
            if partner is not None:
                of_found[partner] = i
            if taken_for != label:
                missed.append((box, self.classes[label]))
        for label, box, partner in zip(found.labels.tolist(), found.bboxes.tolist(), of_found, strict=True):
            if partner is None:
                self.confusion[none, label] += 1
            if partner is None or int(truth.labels[partner]) != label:
                false.append((box, self.classes[label]))
        self._keep(len(missed) + len(false), sample, missed=missed, false=false)

    def _keep(self, badness: float, sample: Any, **what: Any) -> None:
        self._seen += 1
        if badness <= 0:
            return
        entry = Mistakes(float(badness), -self._seen, str(sample.get("img_path", "")), **what)
        (heapq.heappush if len(self.worst) < WORST else heapq.heappushpop)(self.worst, entry)


def match(truth: Tensor, found: Tensor, truth_labels: Tensor, found_labels: Tensor) -> list[int | None]:
    """For each true box the index of the found box that stands for it, None for a missed one.

    Pairs of IoU 0.5 and more are made one to one: those of equal class first, then by IoU.

    Args:
        truth, found: (N, 4) and (M, 4) boxes.
        truth_labels, found_labels: (N,) and (M,).
    """
    partners: list[int | None] = [None] * len(truth)
    if len(truth) == 0 or len(found) == 0:
        return partners
    overlap = box_iou(truth, found)
    value = overlap + (truth_labels[:, None] == found_labels[None]).float()
    value[overlap < MIN_IOU] = -1
    for flat in torch.argsort(value.flatten(), descending=True, stable=True).tolist():
        i, j = divmod(flat, len(found))
        if value[i, j] < 0:
            break
        if partners[i] is None and j not in partners:
            partners[i] = j
    return partners
