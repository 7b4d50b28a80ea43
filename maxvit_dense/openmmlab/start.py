"""What a run starts from, read and held against the model before anything is written."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper
from torch import nn

from ..errors import InputError
from ..weights.safe_load import read_checkpoint
from ..work_dir import LAST_CHECKPOINT, last_checkpoint
from .backbones.dense import DenseBackbone
from .classification.classifier import ImageClassifier
from .classification.prepare import check_start as check_classifier
from .config_parts import shown
from .rehearsal import check_init
from .training_guard import adopt_seed
from .weights import check_fit, check_optimizer

_RESUME_KEYS = ("meta", "message_hub", "optimizer")
_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")


def resume_path(resume: str, work_dir: str) -> str:
    """The checkpoint to go on from.

    Args:
        resume: "auto" for the last one of the work dir, or a path.
    """
    if resume != "auto":
        return resume
    path = last_checkpoint(work_dir)
    if path is None:
        raise InputError(
            f"--resume finds nothing to resume: {work_dir} has no {LAST_CHECKPOINT} that names one. Give the "
            "--work-dir of the run to go on with, or a checkpoint after --resume, or leave it out to start anew."
        )
    return str(path)


def check_start(
    cfg: Config, model: nn.Module, optim_wrapper: OptimWrapper | None, checkpoint: Mapping[str, Any] | None
) -> None:
    """Hold the checkpoint to resume against model and optimizer, or read what training starts from."""
    if checkpoint is not None:
        _check_fields(checkpoint, cfg.load_from)
        check_fit(model, checkpoint, cfg.load_from, exact=True)
        if optim_wrapper is not None:
            groups = optim_wrapper.optimizer.param_groups
            check_optimizer(checkpoint["optimizer"], model, groups, cfg.load_from)
        adopt_seed(cfg, checkpoint)
        return
    for path in [cfg.get("load_from"), *_pretrained_files(cfg.model)]:
        if path and "://" not in path:
            read_checkpoint(path)
    if isinstance(model, ImageClassifier):
        check_classifier(model)
    else:
        check_init(model)
    for part in model.modules():
        if isinstance(part, DenseBackbone) and part.init_cfg:
            _check_backbone_weights(part)


def _check_fields(checkpoint: Mapping[str, Any], name: str) -> None:
    """Whether a checkpoint has what resuming needs, of the types that a Runner writes."""
    absent = [key for key in _RESUME_KEYS if key not in checkpoint]
    if absent:
        raise InputError(
            f"{name} cannot be resumed: it has no {', '.join(absent)}, only weights perhaps. To "
            "start a new run from its weights, leave --resume out and give --cfg-options load_from=FILE."
        )
    wrong = list(_wrong_fields(checkpoint))
    if wrong:
        raise InputError(
            f"{name} cannot be resumed: {'; '.join(wrong)}. It is damaged, or not of a training run. Give another."
        )
    try:
        MessageHub("maxvit_dense: whether it loads").load_state_dict(checkpoint["message_hub"])
    except Exception as error:  # mmengine's assertions
        raise InputError(f"{name} cannot be resumed: its message_hub is not a Runner's ({error}).") from error


def _wrong_fields(checkpoint: Mapping[str, Any]) -> Iterator[str]:
    for key in _RESUME_KEYS:
        if not isinstance(checkpoint[key], Mapping):
            yield f"its {key} is {shown(checkpoint[key])}, not a dictionary"
    meta, optimizer = checkpoint["meta"], checkpoint["optimizer"]
    for key in ("epoch", "iter") if isinstance(meta, Mapping) else ():
        if not isinstance(meta.get(key), int) or meta[key] < 0:
            yield f"its meta.{key} is {shown(meta.get(key))}, not a whole number from 0"
    if isinstance(meta, Mapping) and not isinstance(meta.get("seed"), int | None):
        yield f"its meta.seed is {shown(meta['seed'])}, not a whole number"
    if isinstance(optimizer, Mapping) and not _is_optimizer(optimizer):
        yield "its optimizer is not of an optimizer's state and param_groups"
    if not isinstance(checkpoint.get("param_schedulers", []), list | Mapping):
        yield f"its param_schedulers are {shown(checkpoint['param_schedulers'])}, not a list"


def _is_optimizer(state: Mapping[str, Any]) -> bool:
    moments, groups = state.get("state"), state.get("param_groups")
    return (
        isinstance(moments, Mapping)
        and isinstance(groups, list)
        and all(isinstance(group, Mapping) and isinstance(group.get("params"), list) for group in groups)
        and all(isinstance(moment, Mapping) for moment in moments.values())
        and all(isinstance(m.get("exp_avg", torch.zeros(())), torch.Tensor) for m in moments.values())
    )


def _check_backbone_weights(backbone: DenseBackbone) -> None:
    """Load what ``init_cfg`` names, once more than the Runner will: its weights must be of this size."""
    source = backbone.init_cfg["checkpoint"]
    if backbone.init_cfg.get("missing_ok") and not os.path.isfile(source):
        return  # allowed to be out of reach, and finding that out takes most of a minute
    try:
        backbone.init_weights()
    except (ValueError, OSError) as error:
        raise InputError(f"The backbone's init_cfg names {source}: {error}") from error


def _pretrained_files(part: Any) -> Iterator[str]:
    """Local files that ``init_cfg`` entries name. Other names are a backbone's own, such as timm tags."""
    if isinstance(part, list | tuple):
        for item in part:
            yield from _pretrained_files(item)
    if not isinstance(part, dict):
        return
    for key, value in part.items():
        if key == "init_cfg" and isinstance(value, dict) and value.get("type") == "Pretrained":
            path = str(value.get("checkpoint", ""))
            if os.path.isfile(path) or os.sep in path or path.endswith(_WEIGHT_SUFFIXES):
                yield path
        else:
            yield from _pretrained_files(value)
