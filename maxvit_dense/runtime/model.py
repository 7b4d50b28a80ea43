"""An exported model: RGB images in, plain numpy out."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..errors import InputError, listed
from ..predict.images import check_array
from .backends import default_threads, open_program
from .card import Card, find_program, read_card
from .images import fixed_size, prepare
from .masks import paste_masks

Result = dict[str, np.ndarray]


class Model:
    """Called with a list of RGB images, (H, W, 3) uint8 of any sizes; gives a dict for each.

    Detectors: ``boxes`` (N, 4) float32 x1, y1, x2, y2 in the image's pixels, ``scores`` (N,), ``labels`` (N,), best
    first, and ``masks`` (N, H, W) bool if it finds masks. Segmentors: ``labels`` (H, W). Classifiers: ``scores`` (K,)
    that sum to 1. Backbones: one array a map, of the image as it was resized.

    Args:
        path: the folder that an export wrote, or NAME.onnx, NAME.xml or NAME.pt2 with NAME.json beside it.
        runtime: one of ``backends.RUNTIMES``; None for the one that the file was written for.
        threads: how many to use; 0 for ``backends.default_threads``.
        score: least score of an object; those with less get no mask, which saves most of a mask's time.

    Attributes:
        card: what is known of it.
        task: classification, detection, segmentation or features.
        classes: names in the order of labels and scores.
        mask_values: value of each class in the masks of the training data; None but for segmentors.
        threads: that it computes with.

    Raises:
        InputError: something else wrote it, or the runtime is not installed; the text says what to do.
    """

    def __init__(self, path: str | Path, runtime: str | None = None, threads: int = 0, score: float = 0.0):
        path = find_program(Path(path))
        self.card: Card = read_card(path)
        self.task = self.card.task
        try:
            self._read = _READERS[self.task]
            size = fixed_size(self.card.preprocessing)
            prepare(np.zeros((8, 8, 3), np.uint8), self.card.preprocessing)
            self.classes = list(self.card.classes)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"The card of {path} does not describe a model ({error!r}). Export it again.") from error
        lacking = listed(sorted(_OUTPUTS.get(self.task, set()) - set(self.card.outputs)))
        if lacking:
            raise InputError(f"The card of {path} names no {lacking} among its outputs. Export it again.")
        self.mask_values = self.card.mask_values
        self.threads, self.score = threads or default_threads() or os.cpu_count() or 1, score
        self._run = open_program(path, runtime, self.card.precision, threads, size)

    def __call__(self, images: Sequence[np.ndarray]) -> list[Result]:
        return [self._found(check_array(image, i)) for i, image in enumerate(images)]

    def _found(self, image: np.ndarray) -> Result:
        inputs, size = program_inputs(image, self.card)
        try:
            found = dict(zip(self.card.outputs, self._run(inputs), strict=True))
        except Exception as error:  # the runtimes' have no common class but this
            shape = "x".join(map(str, inputs["image"].shape))
            raise InputError(f"The model does not run on {shape} values ({str(error).strip()[:300]}).") from error
        if _classes_needed(found) > len(self.classes):
            raise InputError(f"The card names {len(self.classes)} classes, its program knows more. Export it again.")
        if "boxes" in found:
            sure = found["scores"] >= self.score
            found = {name: value[sure] for name, value in found.items()}
        return self._read(found, image, size, self.card)


def _classes_needed(found: Result) -> int:
    """The least number of names that a detector's or segmentor's labels, or a classifier's scores, can have."""
    if "labels" in found:
        return int(found["labels"].max(initial=-1)) + 1
    return found["scores"].shape[-1] if "scores" in found else 0


def program_inputs(image: np.ndarray, card: Card) -> tuple[dict[str, np.ndarray], tuple[int, int]]:
    """What a program takes for one image, and the height and width to which the image was resized."""
    values, size = prepare(image, card.preprocessing)
    inputs = dict(image=values[None])
    if card.task == "segmentation":
        inputs["original"] = np.array(image.shape[:2], np.int64)
    return inputs, size


def _read_labels(found: Result, image: np.ndarray, size: tuple[int, int], card: Card) -> Result:
    return dict(labels=found["labels"][0].astype(np.uint8 if len(card.classes) <= 256 else np.uint16))


def _read_first(found: Result, image: np.ndarray, size: tuple[int, int], card: Card) -> Result:
    return {name: value[0] for name, value in found.items()}


def _read_objects(found: Result, image: np.ndarray, size: tuple[int, int], card: Card) -> Result:
    height, width = image.shape[:2]
    scale = np.array([width / size[1], height / size[0]] * 2, np.float32)
    boxes = found["boxes"] * scale
    result = dict(boxes=boxes, scores=found["scores"], labels=found["labels"])
    if "masks" in found:
        result["masks"] = paste_masks(found["masks"], boxes, height, width, card.mask_threshold)
    return result


_READERS = dict(
    classification=_read_first, detection=_read_objects, segmentation=_read_labels, features=_read_first
)
_OUTPUTS = dict(classification={"scores"}, detection={"boxes", "scores", "labels"}, segmentation={"labels"})
