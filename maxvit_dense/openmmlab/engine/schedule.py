"""How long to train on one's own data, and at which rate: a schedule that follows from the number of images.

A config's schedule is meant for its own data set: 12 epochs of COCO are 88,000 steps, of 300 photographs 230. Where the
classes show that the data are others, the schedule becomes one for them by the rule of :func:`fitted_epochs`.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.registry import DefaultScope

from ...errors import InputError
from ..config.launchers import world_size
from ..config.parts import type_name
from ..config.values import MOST
from ..data.data_set import data_sets, evaluators
from ..data.draws import training_set

_LEAST_STEPS = 3000
_MOST_EPOCHS = 100  # that _LEAST_STEPS may ask for, and of a schedule that the config counts in iterations
_EVALUATIONS = 12
_WARM_UP_SHARE = 0.1
# A run is stopped when half of its evaluations brought nothing: later than any step decay of our configs begins.
_PATIENCE = _EVALUATIONS // 2
# Of these, the noise of a step grows with the root of the batch, not with the batch (arXiv 2205.10287).
_ADAPTIVE = ("Adam", "AdamW", "NAdam", "RAdam", "Lamb")
_BY_HAND = ("train_cfg", "param_scheduler")
_CHECKPOINT = "default_hooks.checkpoint"

_logger = logging.getLogger(__name__)


def known_classes(cfg: Config) -> list[Any]:
    """What tells one's own data from the config's: class names, or a classifier's number of classes."""
    if cfg.model.get("type") == "ImageClassifier":
        return [cfg.model.network.get("num_classes", 1000)]  # timm's own default is ImageNet's
    return [data.classes for data in data_sets(cfg, ("train",))]


def fitted_epochs(own: int | None, steps: float) -> int:
    """Epochs for a data set: the config's, or as many as make _LEAST_STEPS, but not more than _MOST_EPOCHS for that.

    Args:
        own: the config's epochs; None where it counts iterations, which gives _MOST_EPOCHS, or what makes _LEAST_STEPS.
        steps: optimizer steps of an epoch of one's data.
    """
    wanted = math.ceil(_LEAST_STEPS / steps)
    return max(_MOST_EPOCHS, wanted) if own is None else max(own, min(_MOST_EPOCHS, wanted))


def fit_schedule(
    cfg: Config,
    *,
    own_data: bool,
    overrides: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    lr: float | None = None,
    keep: bool = False,
) -> None:
    """Fit steps, warm-up, decay, evaluations and learning rate of ``cfg`` to its training data; one line says how.

    What the command line gives stands. Evaluations also keep the best checkpoint, and end a run on a plateau.

    Args:
        cfg: as it will be trained, but for this.
        own_data: the data are others than the config's; else only ``epochs`` and ``lr`` change anything.
        overrides: config entries of the command line, by dotted name.
        epochs, lr: of the command line, which ``check_given`` has passed.
        keep: leave the config's own schedule, but for ``epochs`` and ``lr``.

    Raises:
        InputError: there is no train loop to set.
    """
    given = list(overrides or {})
    fits = own_data and not keep and bool(cfg.get("param_scheduler"))
    said = []
    by_hand = any(key.split(".")[0] in _BY_HAND for key in given)
    if epochs or (fits and not by_hand):
        said = _set_length(cfg, epochs, keep_interval=f"{_CHECKPOINT}.interval" in given)
        if fits and not any(f"{_CHECKPOINT}.{key}" in given for key in ("save_best", "rule")):
            said += _watch(cfg)
    if lr:
        cfg.optim_wrapper.optimizer.lr = lr
        said.append(f"learning rate {lr:g}")
    elif fits and "optim_wrapper.optimizer.lr" not in given:
        said += _scale_rate(cfg)
    if fits:
        _show_classes(cfg)
    if said:
        kept = "; the config's own: --schedule config" if fits else ""
        _logger.info("Schedule for these data: %s%s.", ", ".join(said), kept)


def check_given(
    cfg: Config, overrides: Mapping[str, Any] | None = None, epochs: int | None = None, lr: float | None = None
) -> None:
    """Refuse a length or a rate that cannot be, before anyone reads or draws data; arguments as of ``fit_schedule``.

    Raises:
        InputError: ``epochs`` or ``lr`` is no positive number; they are given twice.
    """
    given = list(overrides or {})
    for option, value in (("--epochs", epochs), ("--lr", lr)):
        if value is not None and not 0 < value <= MOST:
            raise InputError(f"{option} is {value}; give a number above zero, up to {MOST:,}.")
    if epochs and any(key.split(".")[0] in _BY_HAND for key in given):
        raise InputError("--epochs sets train_cfg and param_scheduler, which --cfg-options gives too. Leave one out.")
    if lr and "optim_wrapper.optimizer.lr" in given:
        raise InputError("--lr and --cfg-options optim_wrapper.optimizer.lr both give the rate. Leave one out.")
    if lr and (cfg.get("auto_scale_lr") or {}).get("enable"):
        raise InputError("--lr is the rate itself, and --auto-scale-lr would change it. Leave one out.")
    if lr and "optimizer" not in cfg.optim_wrapper:
        raise InputError("--lr sets optim_wrapper.optimizer.lr, and this config has several optimizers. Leave it out.")


def count_images(cfg: Config) -> int:
    """Training images as the data set gives them out, without those that it filters."""
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        return len(training_set(cfg.train_dataloader.dataset, counted=True))


def _set_length(cfg: Config, epochs: int | None, keep_interval: bool) -> list[str]:
    """Set the train loop, the schedulers and the intervals, or not that of checkpoints; what was set, in words."""
    loop = cfg.train_cfg
    key = next((key for key in ("max_epochs", "max_iters") if key in loop), None)
    if key is None:
        raise InputError("--epochs sets train_cfg.max_epochs or max_iters; this config's train_cfg has neither.")
    images, counts_epochs, old = count_images(cfg), key == "max_epochs", loop[key]
    per_epoch = max(1, math.ceil(images / _batch(cfg)))  # mmengine's iterations, of which some may make a step
    fitted = epochs or fitted_epochs(old if counts_epochs else None, per_epoch / _accumulated(cfg))
    iterations = fitted * per_epoch
    if not (epochs or counts_epochs):
        iterations = min(iterations, old)
    loop[key] = fitted if counts_epochs else iterations
    loop["val_interval"] = interval = max(1, loop[key] // _EVALUATIONS)
    loop.pop("dynamic_intervals", None)
    checkpoint = cfg.setdefault("default_hooks", ConfigDict()).setdefault("checkpoint", ConfigDict())
    checkpoint.setdefault("type", "CheckpointHook")
    saved = checkpoint.interval if keep_interval else interval
    checkpoint.update(interval=saved, by_epoch=counts_epochs)
    warm_up = _fit_schedulers(cfg, old, loop[key], iterations, counts_epochs)
    return [
        f"{images} images, {_batch(cfg) * _accumulated(cfg)} a step",
        f"{iterations} iterations ({iterations / per_epoch:.4g} epochs)",
        *([f"{warm_up} of warm-up"] if warm_up else []),
        f"evaluation every {interval}, a checkpoint every {saved} {'epochs' if counts_epochs else 'iterations'}",
    ]


def _batch(cfg: Config) -> int:
    """Images of an iteration, of all processes."""
    return (cfg.train_dataloader.get("batch_size") or 1) * world_size(cfg.get("launcher", "none"))


def _accumulated(cfg: Config) -> int:
    return cfg.optim_wrapper.get("accumulative_counts", 1)


def _fit_schedulers(cfg: Config, old: int, new: int, iterations: int, counts_epochs: bool) -> str:
    """Stretch schedulers, and a ``CropSizeHook``, from ``old`` to ``new``; the warm-up, its share at most, in words."""
    schedulers = cfg.get("param_scheduler") or []
    schedulers = schedulers if isinstance(schedulers, list) else [schedulers]
    warm_ups = [scheduler for scheduler in schedulers if _is_warm_up(scheduler)]
    others = [scheduler for scheduler in schedulers if scheduler not in warm_ups]
    words, moved = "", {}
    for scheduler in warm_ups:
        by_epoch, end = scheduler.get("by_epoch", True), scheduler["end"]
        shorter = end * min(1.0, new / old) if by_epoch else min(end, iterations * _WARM_UP_SHARE)
        moved[by_epoch, end] = scheduler["end"] = max(1, round(shorter))
        words = f"{scheduler['end']} {'epochs' if by_epoch else 'iterations'}"
    # In a loop of epochs, the last end that is counted in iterations is the run's.
    ends = [scheduler.get("end") or 0 for scheduler in others if not scheduler.get("by_epoch", True)]
    last = max(ends, default=0) or iterations
    for scheduler in others:
        same_unit = scheduler.get("by_epoch", True) == counts_epochs
        _stretch(scheduler, new / old if same_unit else iterations / last, moved)
    for hook in cfg.get("custom_hooks") or []:
        if type_name(hook) == "CropSizeHook":
            _stretch(hook, new / old, moved={})
    return words


def _is_warm_up(scheduler: Mapping[str, Any]) -> bool:
    kinds = ("LinearLR", "ConstantLR", "QuadraticWarmupLR")
    return scheduler["type"] in kinds and not scheduler.get("begin") and bool(scheduler.get("end"))


def _stretch(scheduler: ConfigDict, factor: float, moved: Mapping[tuple[bool, int], int]) -> None:
    """Multiply all points in time of a scheduler or hook; one that begins where a warm-up ends goes on doing so."""
    begin = scheduler.get("begin", 0)
    if begin:
        scheduler["begin"] = moved.get((scheduler.get("by_epoch", True), begin), round(begin * factor))
    for key in ("end", "T_max", "step_size", "total_steps"):
        if scheduler.get(key):
            scheduler[key] = max(1, round(scheduler[key] * factor))
    if scheduler.get("milestones"):
        scheduler["milestones"] = sorted({max(1, round(point * factor)) for point in scheduler["milestones"]})


def _watch(cfg: Config) -> list[str]:
    """Keep the best checkpoint, and stop where evaluations bring nothing any more."""
    metric = next(_metrics(cfg), None)
    if metric is None:
        return []
    cfg.default_hooks.checkpoint.update(save_best=metric, rule="greater")
    stop = dict(type="EarlyStoppingHook", monitor=metric, rule="greater", min_delta=0.0, patience=_PATIENCE)
    hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook["type"] != "EarlyStoppingHook"]
    cfg.custom_hooks = [*hooks, stop]
    return [f"best {metric} kept, a stop after {_PATIENCE} evaluations without a gain"]


def _metrics(cfg: Config) -> Iterator[str]:
    """The name of what each evaluator is about."""
    for evaluator in evaluators(cfg, ("val",)):
        kind = type_name(evaluator)
        if kind == "CocoMetric":
            kinds = evaluator.get("metric", "bbox")
            yield "coco/segm_mAP" if "segm" in ([kinds] if isinstance(kinds, str) else kinds) else "coco/bbox_mAP"
        elif kind == "IoUMetric":
            yield "mIoU"
        elif kind == "TopAccuracy":
            yield "accuracy/top1"


def _scale_rate(cfg: Config) -> list[str]:
    """The config's rate at this batch: by its root for Adam and its kin, else in proportion."""
    meant = cfg.get("auto_scale_lr") or {}
    optimizer = cfg.optim_wrapper.get("optimizer")
    if not meant.get("base_batch_size") or meant.get("enable") or not optimizer:
        return []
    # Without accumulated batches, as mmengine counts: prepare_classification has divided a classifier's base by them.
    ratio = _batch(cfg) / meant["base_batch_size"]
    if ratio == 1:
        return []
    old, adaptive = optimizer.lr, type_name(optimizer) in _ADAPTIVE
    optimizer.lr = float(f"{old * (math.sqrt(ratio) if adaptive else ratio):.3g}")
    return [f"learning rate {optimizer.lr:g} ({old:g} by {'the root of ' if adaptive else ''}the batch)"]


def _show_classes(cfg: Config) -> None:
    """Have a detector's evaluations tell the precision of each class."""
    for evaluator in evaluators(cfg, ("val",)):
        if type_name(evaluator) == "CocoMetric":
            evaluator.setdefault("classwise", True)
