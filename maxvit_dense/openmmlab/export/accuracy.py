"""Accuracy of a model on an evaluation set by the config's own metrics, whoever predicts."""

import copy
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.evaluator import Evaluator
from mmengine.registry import DATASETS, DefaultScope
from mmengine.structures import InstanceData, PixelData

from ...errors import InputError, listed
from ...predict.images import read_image
from ..data.configure import configure_data
from ..data.data_set import data_sets
from ..data.layouts.class_folders import class_folders, find_split
from ..inference.predictor import Predictor

Result = dict[str, np.ndarray]
Case = tuple[str, Callable[[Result], Any]]  # an image's path, and what makes an evaluator's sample of its result


def evaluation(predictor: Predictor, data_root: str) -> Callable[[Callable[[list], list[Result]]], dict[str, float]]:
    """The metrics of ``test_evaluator`` on the test images of a data set.

    Args:
        predictor: tells config and classes.
        data_root: of the data set, in the layout that training takes.

    Returns:
        A function from a model, which is called with a list of RGB arrays and gives results as ``predictor`` does, to
        its metrics.

    Raises:
        InputError: no such data, or of other classes than the model's.
    """
    cfg = copy.deepcopy(predictor.cfg)
    if predictor.task == "classification":
        metainfo, cases = dict(classes=predictor.classes), _labelled_files(predictor.classes, data_root)
    else:
        metainfo, cases = _annotated_files(cfg, predictor.classes, data_root)

    def accuracy(predict: Callable[[list], list[Result]]) -> dict[str, float]:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            evaluator = Evaluator(copy.deepcopy(cfg.test_evaluator))
            evaluator.dataset_meta = metainfo
            for path, sample_of in cases:
                evaluator.process([sample_of(predict([read_image(path)])[0])], None)
            return evaluator.evaluate(len(cases))

    return accuracy


def _annotated_files(cfg: Config, classes: tuple[str, ...], data_root: str) -> tuple[dict, list[Case]]:
    configure_data(cfg, ("test",), data_root=data_root)
    given = data_sets(cfg, ("test",))[0].classes
    if given != classes:
        raise InputError(
            f"{data_root} has the classes {listed(given)}, the model {listed(classes)}. "
            "Give data of the model's classes."
        )
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
        samples = [dataset[i]["data_samples"] for i in range(len(dataset))]
    return dataset.metainfo, [(sample.img_path, partial(_with_result, sample)) for sample in samples]


def _labelled_files(classes: tuple[str, ...], data_root: str) -> list[Case]:
    split = find_split(data_root, "val")
    if split.kind != "folders":
        raise InputError(f"{data_root} holds {split.kind}; give class folders to measure the accuracy on.")
    names = class_folders(split.path)
    unknown = [name for name in names if name not in classes]
    if unknown:
        raise InputError(f"{split.path} has the classes {listed(unknown)}, which the model does not know.")
    return [
        (file.path, partial(_with_label, classes.index(name)))
        for name in names
        for file in sorted(os.scandir(os.path.join(split.path, name)), key=lambda entry: entry.name)
    ]


def _with_label(label: int, found: Result) -> dict[str, Any]:
    return dict(scores=torch.from_numpy(found["scores"]), label=label)


def _with_result(sample: Any, found: Result) -> Any:
    """A data sample of mmdet or mmseg, with what was found."""
    if "boxes" not in found:
        sample.pred_sem_seg = PixelData(data=torch.from_numpy(found["labels"].astype(np.int64))[None])
        return sample
    values = dict(bboxes=found["boxes"], scores=found["scores"], labels=found["labels"])
    if "masks" in found:
        values["masks"] = found["masks"]
    sample.pred_instances = InstanceData(**{key: torch.from_numpy(value) for key, value in values.items()})
    return sample
