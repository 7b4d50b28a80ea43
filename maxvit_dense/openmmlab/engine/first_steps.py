"""The first batches of a run, once through the network, its losses and the evaluation, before anything is written.

What these read of a config only while they work is found here, and not hours later: a key of ``test_cfg``, a loss, a
metric. It costs as much time as one step on two images and one evaluated image.
"""

import copy
import os
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ...errors import InputError, listed
from .. import exact_batches
from ..config.building import building
from .rehearsal import quietly, random_state_kept

_IMAGES = 2  # BatchNorm needs more than one
_WRITTEN = ("outfile_prefix", "output_dir", "out_file_path")  # by metrics of mmdet, mmseg and mmengine


def take_first_steps(cfg: Config, model: nn.Module, loaders: Mapping[str, DataLoader]) -> None:
    """Compute the loss of the first training images, and evaluate the first of each other phase.

    Args:
        model: that of ``cfg``, with any weights; of no use afterwards.
        loaders: by phase, "train", "val" or "test".

    Raises:
        InputError: something fails; a metric that is watched is none of those that were computed.
    """
    model = revert_sync_batchnorm(model).to(get_device())  # as the Runner, where one process has no others
    exact_batches.attach(model)
    with torch.no_grad():
        for parameter in model.parameters():  # some hold whatever lay in memory until init_weights: DINO's level_embed
            parameter.copy_(parameter.nan_to_num(0.0, 0.0, 0.0).clamp(-1, 1))
    with quietly(), random_state_kept(), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        for phase, loader in loaders.items():
            with building(f"The first images of {phase}_dataloader.dataset", _steps(cfg, phase), "prepared"):
                count = _IMAGES if phase == "train" else min(loader.batch_size or 1, _IMAGES)
                batch = loader.collate_fn([loader.dataset[i % len(loader.dataset)] for i in range(count)])
            with torch.no_grad():
                if phase == "train":
                    _compute_loss(model, batch)
                else:
                    _evaluate(cfg, model, phase, loader, batch, count)


def _steps(cfg: Config, phase: str) -> Any:
    dataset = cfg[f"{phase}_dataloader"].dataset
    return dataset.get("transform") or dataset.get("pipeline")


def _compute_loss(model: nn.Module, batch: Any) -> None:
    with building("The first training step", what="taken"):
        data = model.train().data_preprocessor(batch, True)
        size = getattr(model.data_preprocessor, "size", None)
        given = data["inputs"].shape[-2:]
        if size and (given[0] > size[0] or given[1] > size[1]):
            raise InputError(
                f"model.data_preprocessor.size is {tuple(size)}, and the training images of {tuple(given)} pixels do "
                "not fit into it. Make it the size of their crop."
            )
        loss = model.parse_losses(model._run_forward(data, mode="loss"))[0]
        if not isinstance(loss, torch.Tensor):
            raise ValueError("the model has no loss to train with")


def _evaluate(cfg: Config, model: nn.Module, phase: str, loader: DataLoader, batch: Any, count: int) -> None:
    """Evaluate the first images, as if there were no others."""
    entry = copy.deepcopy(cfg[f"{phase}_evaluator"])
    with building(f"The first step of the {phase} evaluation", what="taken"), tempfile.TemporaryDirectory() as folder:
        for metric in [entry] if isinstance(entry, Mapping) else entry:
            metric.update({key: os.path.join(folder, "result.pkl") for key in _WRITTEN if metric.get(key)})
        evaluator = Runner.build_evaluator(None, entry)
        evaluator.dataset_meta = getattr(loader.dataset, "metainfo", None)
        found = getattr(model.eval(), f"{phase}_step")(batch)
        for metric in evaluator.metrics:
            if hasattr(metric, "img_ids"):  # COCO's, which would else look for all images of its file
                metric.img_ids = [sample.img_id for sample in found]
        evaluator.process(data_samples=found, data_batch=batch)
        metrics = evaluator.evaluate(count)
        if phase == "val" and len(evaluator.metrics) == 1:
            _check_watched(cfg, metrics or {}, evaluator.metrics[0].prefix)


def _check_watched(cfg: Config, metrics: Mapping[str, Any], prefix: str | None) -> None:
    """Hold the metrics that hooks and schedules look at against those computed: COCO's has none where none is found."""
    for key, name in _watched(cfg):
        known = name in metrics if metrics else str(name).startswith(f"{prefix}/" if prefix else "")
        if name not in (None, "auto", "loss") and not known:
            there = listed(metrics, 20) if metrics else f"such as begin with {prefix}/"
            raise InputError(f"{key} is {name!r}, which is no metric of the evaluation; there are {there}.")


def _watched(cfg: Config) -> Iterator[tuple[str, str | None]]:
    """Key and name of each."""
    saved = ((cfg.get("default_hooks") or {}).get("checkpoint") or {}).get("save_best")
    for name in saved if isinstance(saved, list | tuple) else [saved]:
        yield "default_hooks.checkpoint.save_best", name
    for key in ("custom_hooks", "param_scheduler"):
        entries = cfg.get(key) or []
        for i, entry in enumerate(entries if isinstance(entries, list) else [entries]):
            yield f"{key}.{i}.monitor", entry.get("monitor")
