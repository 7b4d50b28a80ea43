"""Prepares a config for mmengine's Runner, and refuses what cannot run before anything is written.

Shared by ``tools/train.py`` and ``tools/test.py``. Everything here edits or checks a ``Config``; the work
itself is the Runner's.
"""

import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.registry import RUNNERS
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from ...errors import InputError
from ...weights.safe_load import read_checkpoint
from .. import exact_batches
from ..config.building import reason
from ..config.load import build_model, load_config, of_views
from ..config.values import check_kept
from ..data.choice import EVERYTHING, Choice
from ..data.configure import configure_data
from ..data.data_set import data_sets
from ..data.draws import repeat_draws
from ..data.layouts.coco_check import CLIPPED_SHARE
from ..inference.tta import augment_test
from ..report.evaluation import draw_pictures, save_predictions
from .first_steps import take_first_steps
from .launch import prepare_launch
from .own_files import own_files, with_own_files
from .places import WorkDirLock, check_space, check_writable, make_work_dir, set_work_dir
from .rehearsal import build_loaders, rehearse
from .schedule import check_given, fit_schedule, known_classes
from .start import check_start, resume_path
from .training_guard import guard_training

_TRAIN_KEYS = ("model", "train_dataloader", "train_cfg", "optim_wrapper")
_TRAIN_PHASES, _TEST_PHASES = ("train", "val"), ("test",)
_TEST_KEYS = ("model", "test_dataloader", "test_cfg", "test_evaluator")


def _one_message(prepare: Callable[..., Any]) -> Callable[..., Any]:
    """Has whatever a config's values bring about, in code of any package, end in an InputError too."""

    @wraps(prepare)
    def prepared(config: str | Config, *args: Any, **kwargs: Any) -> Any:
        try:
            return prepare(config, *args, **kwargs)
        except InputError:
            raise
        except Exception as error:
            place = traceback.extract_tb(error.__traceback__)[-1]
            at = f"{os.path.basename(place.filename)}, line {place.lineno}"
            name = config.filename if isinstance(config, Config) else config
            raise InputError(f"Config {name} cannot be used: {reason(error)} ({at}).") from error

    return prepared


@_one_message
def prepare_training(
    config: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    data_root: str | None = None,
    choice: Choice = EVERYTHING,
    bad_boxes: str = "refuse",
    clipped: float = CLIPPED_SHARE,
    resume: str | None = None,
    amp: bool = False,
    auto_scale_lr: bool = False,
    launcher: str = "none",
    epochs: int | None = None,
    lr: float | None = None,
    schedule: str = "fit",
) -> Config:
    """Turn a config file and the options of ``tools/train.py`` into a config that a Runner can train.

    Args:
        config: path of the config file.
        overrides: config entries by dotted name, as of ``--cfg-options``.
        work_dir: for checkpoints and logs; by default the config's, else ``./work_dirs/<config name>``.
        data_root: folder to read all data sets from instead of the config's, and the classes with them (see
            ``data.configure.adopt_classes``).
        choice: what the command line says of labels: classes to keep, merge or rename, void values, ...
        bad_boxes: "refuse" or "skip" annotated boxes that reach outside their image.
        clipped: share of a box that may do so: it is clipped.
        resume: "auto" for the last checkpoint of the work dir, or a checkpoint's path.
        amp: mixed precision.
        auto_scale_lr: scale the learning rate by the actual batch size.
        launcher: "none", "pytorch", "slurm" or "mpi".
        epochs, lr: in place of the config's.
        schedule: "fit" to data of other classes than the config's (see ``engine.schedule``), or "config".

    Raises:
        InputError: something of the above cannot be used. Nothing has been written, but for a demo's data.
    """
    cfg = load_config(config, overrides, _TRAIN_KEYS)
    set_work_dir(cfg, config, work_dir)
    check_writable(cfg.work_dir)
    check_given(cfg, overrides, epochs, lr)
    prepare_launch(cfg, launcher)
    if amp:
        _use_amp(cfg)
    if auto_scale_lr:
        _scale_lr(cfg)
    if resume:
        cfg.resume, cfg.load_from = True, resume_path(resume, cfg.work_dir)
    resumed = read_checkpoint(cfg.load_from) if cfg.get("resume") and cfg.get("load_from") else None
    before = known_classes(cfg)
    configure_data(
        cfg,
        _TRAIN_PHASES,
        data_root=data_root,
        choice=choice,
        overrides=overrides,
        bad_boxes=bad_boxes,
        clipped=clipped,
        checkpoint=resumed,
    )
    own = known_classes(cfg) != before
    fit_schedule(cfg, own_data=own, overrides=overrides, epochs=epochs, lr=lr, keep=schedule == "config")
    _add_tensorboard(cfg)
    _add_once(cfg, "custom_hooks", dict(type="PeakMemoryHook"))
    _add_once(cfg, "custom_hooks", dict(type="CurvesHook"))
    _add_once(cfg, "custom_hooks", dict(type="ReportHook"))
    guard_training(cfg)
    repeat_draws(cfg)
    check_kept(cfg, overrides)
    return cfg


@_one_message
def prepare_test(
    config: str,
    checkpoint: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    data_root: str | None = None,
    choice: Choice = EVERYTHING,
    launcher: str = "none",
    tta: bool = False,
    show_dir: str | None = None,
    out: str | None = None,
) -> Config:
    """Turn a config file and the options of ``tools/test.py`` into a config that a Runner can test.

    Args:
        config: path of the config file.
        checkpoint: weights to evaluate, all of which the config's model must find.
        overrides, work_dir, data_root, choice, launcher: as of ``prepare_training``.
        tta: test-time augmentation, see ``inference.tta``.
        show_dir: folder for pictures with what was found.
        out: file for results, see ``report.evaluation``: ``save_predictions``, ``report_metrics``.

    Raises:
        InputError: something of the above cannot be used. Nothing has been written, but for a demo's data.
    """
    weights = read_checkpoint(checkpoint)
    cfg = load_config(config, overrides, _TEST_KEYS)
    set_work_dir(cfg, config, work_dir)
    for folder in (cfg.work_dir, show_dir, out and os.path.dirname(os.path.abspath(out))):
        if folder:
            check_writable(folder)
    prepare_launch(cfg, launcher)
    data = dict(data_root=data_root, choice=choice, overrides=overrides)
    configure_data(cfg, _TEST_PHASES, **data, predicted=bool(out), checkpoint=weights)
    cfg.resume, cfg.load_from = False, checkpoint
    if tta:
        augment_test(cfg)
    if show_dir:
        draw_pictures(cfg, show_dir)
    if out:
        save_predictions(cfg, out)
    check_kept(cfg, {key: value for key, value in (overrides or {}).items() if not key.startswith("model")})
    return cfg


def build_runner(cfg: Config, suffix: str = "") -> Runner:
    """Try out all that a run is built of, make the work dir, and the Runner, which leaves the config there.

    Args:
        cfg: of ``prepare_training`` or ``prepare_test``.
        suffix: of that config's file name. An evaluation has one, or it would overwrite the training run's config
            with what is right for this evaluation alone.

    Raises:
        InputError: a part cannot be built, weights do not fit, a first step cannot be taken, or the work dir not be
            made; another process trains there.
    """
    with own_files():
        loaders = _try_out(cfg, _TEST_PHASES if suffix else _TRAIN_PHASES)
    make_work_dir(cfg.work_dir)
    lock = None if suffix else WorkDirLock(cfg.work_dir)
    if suffix and cfg.filename:
        stem, extension = os.path.splitext(cfg.filename)
        cfg = Config(cfg.to_dict(), cfg_text=cfg.text, filename=f"{stem}{suffix}{extension}")
    with own_files():
        runner = with_own_files(RUNNERS.get(cfg.get("runner_type", "Runner")), lock).from_cfg(cfg)
    for phase, loader in loaders.items():
        setattr(runner, f"_{phase}_dataloader", loader)  # where a Runner keeps either a loader or how to build one
    if isinstance(getattr(runner, "model", None), nn.Module):  # FlexibleRunner makes it later
        exact_batches.attach(runner.model)
    return runner


@_one_message
def _try_out(cfg: Config, phases: tuple[str, ...]) -> dict[str, DataLoader]:
    """Build everything once, and compute the first steps; the data loaders, which are the run's own."""
    model = build_model(cfg)
    inner = of_views(model)
    _check_heads(cfg, inner, phases)
    if "train" in phases:
        check_space(cfg, model)
    optim_wrapper = rehearse(cfg, model, phases)
    check_start(cfg, inner, optim_wrapper, is_test="test" in phases)
    loaders = build_loaders(cfg, phases)
    take_first_steps(cfg, model, loaders)
    return loaders


def _check_heads(cfg: Config, model: nn.Module, phases: Sequence[str]) -> None:
    """Hold each head against the classes of its data: too few outputs fail amid a loss."""
    wanted = {len(data.classes) for data in data_sets(cfg, phases)}
    if cfg.get("default_scope") not in ("mmdet", "mmseg") or wanted == {0}:  # none are known
        return
    wrong = [
        f"model.{name}.num_classes is {part.num_classes}"
        for name, part in model.named_modules()
        if _is_class_head(name, part) and wanted != {part.num_classes}
    ]
    if wrong:
        raise InputError(
            f"The data sets of {cfg.filename} have {' and '.join(map(str, sorted(wanted)))} classes, but "
            f"{', '.join(wrong)}. Make every num_classes their number, in the config or with --cfg-options."
        )


def _is_class_head(name: str, part: nn.Module) -> bool:
    """A region proposal network (RPN) tells objects from background only, whatever the classes."""
    return hasattr(part, "num_classes") and "head" in name and "rpn" not in name


def _use_amp(cfg: Config) -> None:
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise InputError(f"--amp works with optim_wrapper type OptimWrapper, not {kind}. Leave it out.")
    if get_device() == "cpu":
        raise InputError("--amp needs a GPU, and torch sees none here. Leave it out to train in float32.")
    cfg.optim_wrapper.type = "AmpOptimWrapper"
    cfg.optim_wrapper.setdefault("loss_scale", "dynamic")


def _scale_lr(cfg: Config) -> None:
    if not cfg.get("auto_scale_lr", {}).get("base_batch_size"):
        raise InputError(
            "--auto-scale-lr needs the batch size that the config's learning rate is meant for. Set it: "
            "--cfg-options auto_scale_lr.base_batch_size=16."
        )
    cfg.auto_scale_lr.enable = True


def _add_once(cfg: Config, key: str, entry: dict[str, Any]) -> None:
    """Append to a list of the config, unless an entry of that type is there: a work dir's config has it."""
    entries = list(cfg.get(key) or [])
    if not any(item.get("type") == entry["type"] for item in entries):
        cfg[key] = [*entries, entry]


def _add_tensorboard(cfg: Config) -> None:
    cfg.setdefault("visualizer", ConfigDict(vis_backends=[dict(type="LocalVisBackend")]))
    cfg.visualizer.setdefault("type", "Visualizer")
    _add_once(cfg.visualizer, "vis_backends", dict(type="TensorboardVisBackend"))
