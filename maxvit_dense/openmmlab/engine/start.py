"""What a run starts from, read and held against the model before anything is written."""

import copy
import os
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import MessageHub
from mmengine.model import BaseModule, initialize
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from ...errors import InputError
from ...weights.safe_load import read_checkpoint
from ...work_dir import LAST_CHECKPOINT, last_checkpoint
from ..backbones.dense import DenseBackbone
from ..classification.classifier import ImageClassifier
from ..config.building import reason
from ..config.parts import is_listing, shown
from ..config.values import MAPPING, WHOLE, either, judge, optional
from ..weights import check_fit, check_optimizer
from .training_guard import adopt_seed

_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_RESUME_KEYS = ("meta", "message_hub", "optimizer")


def _dictionary_of(*keys: str) -> tuple[Any, str]:
    return lambda value: isinstance(value, Mapping) and set(keys) <= set(value), f"a dict of {' and '.join(keys)}"


# What a Runner reads of a checkpoint to go on; as the rules of ``config.values``.
_FIELDS = (
    (_dictionary_of("epoch", "iter"), "meta"),
    (_dictionary_of("state", "param_groups"), "optimizer"),
    (_dictionary_of("params"), "optimizer.param_groups.*"),
    (MAPPING, "message_hub optimizer.state optimizer.state.*"),
    ((is_listing, "a list"), "optimizer.param_groups optimizer.param_groups.*.params"),
    (either((is_listing, "a list"), MAPPING), "param_schedulers"),
    (WHOLE, "meta.epoch meta.iter"),
    (optional(WHOLE), "meta.seed"),
    ((lambda value: isinstance(value, Tensor), "a tensor"), "optimizer.state.*.exp_avg"),
)


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


def check_start(cfg: Config, model: nn.Module, optim_wrapper: OptimWrapper | None, is_test: bool) -> None:
    """Hold the checkpoint to test or to resume against model and optimizer, or read what training starts from.

    A config without a seed gets that of the run that it resumes.

    Raises:
        InputError: they do not fit, or cannot be read.
    """
    path = cfg.get("load_from")
    resumes = path and cfg.get("resume")
    checkpoint = read_checkpoint(path) if path and (resumes or "://" not in path) else None
    if is_test:
        check_fit(model, checkpoint, path, exact=False)
    elif resumes:
        _check_fields(checkpoint, path)
        check_fit(model, checkpoint, path, exact=True)
        if optim_wrapper is not None:
            check_optimizer(checkpoint["optimizer"], model, optim_wrapper.optimizer.param_groups, path)
        adopt_seed(cfg, checkpoint)
    else:
        _check_init(model)


def _check_fields(checkpoint: Mapping[str, Any], name: str) -> None:
    """Whether a checkpoint has what resuming needs, of the types that a Runner writes."""
    absent = [key for key in _RESUME_KEYS if key not in checkpoint]
    if absent:
        raise InputError(
            f"{name} cannot be resumed: it has no {', '.join(absent)}, only weights perhaps. To "
            "start a new run from its weights, leave --resume out and give --cfg-options load_from=FILE."
        )
    wrong = [f"its {key} is {shown(value)}, not {words}" for key, value, words in judge(checkpoint, _FIELDS) if words]
    if wrong:
        raise InputError(
            f"{name} cannot be resumed: {wrong[0]}. It is damaged, or not of a training run. Give another."
        )
    try:
        MessageHub("maxvit_dense: whether it loads").load_state_dict(checkpoint["message_hub"])
    except Exception as error:  # mmengine's assertions
        raise InputError(f"{name} cannot be resumed: its message_hub is not a Runner's ({error}).") from error


def _check_init(model: nn.Module) -> None:
    """Initialise each part of a model that has an ``init_cfg``, once more than the Runner will."""
    for name, part in model.named_modules():
        start = getattr(part, "init_cfg", None)
        if not isinstance(part, BaseModule) or not start or _may_be_absent(start):
            continue
        try:
            if isinstance(part, DenseBackbone | ImageClassifier):
                part.init_weights()
            else:
                initialize(part, copy.deepcopy(start))
        except Exception as error:  # of several packages
            key = ".".join(filter(None, ("model", name, "init_cfg")))
            raise InputError(f"{key} cannot be used: {reason(error)}. It is {shown(start)}.") from error


def _may_be_absent(start: Any) -> bool:
    """Whether weights are allowed to be out of reach: finding out that they are takes most of a minute."""
    if not isinstance(start, Mapping) or not start.get("missing_ok"):
        return False
    name = str(start.get("checkpoint"))
    return not (os.path.isfile(name) or os.sep in name or name.endswith(_WEIGHT_SUFFIXES))
