"""Prepares a config for mmengine's Runner, and refuses what cannot run before anything is written.

Shared by ``tools/train.py`` and ``tools/test.py``. Everything here edits or checks a ``Config``; the work
itself is the Runner's.
"""

import copy
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, RUNNERS, DefaultScope
from mmengine.runner import Runner
from torch import nn

from ..config_names import UnknownConfig, find_config
from ..errors import InputError
from ..weights.safe_load import read_checkpoint
from ..work_dir import last_checkpoint
from . import exact_batches
from .backbones.dense import DenseBackbone, check_channels
from .checkpoint_io import check_fit, check_optimizer
from .classification.classifier import ImageClassifier
from .classification.prepare import check_start
from .data.coco_check import CLIPPED_SHARE
from .data.configure import configure_data
from .data.datasets import class_names
from .launch import init_cpu_group, prepare_launch
from .own_files import with_own_files
from .results import draw_pictures, save_predictions
from .schedule import fit_schedule, known_classes
from .training_guard import adopt_seed, guard_training
from .tta import augment_test

_TRAIN_KEYS = ("model", "train_dataloader", "train_cfg", "optim_wrapper")
_TEST_KEYS = ("model", "test_dataloader", "test_cfg", "test_evaluator")
_RESUME_KEYS = ("meta", "message_hub", "optimizer")
_WEIGHT_SUFFIXES = (".pth", ".pt", ".bin", ".ckpt", ".safetensors")
_LOG_BYTES = 64 * 2**20

_logger = logging.getLogger(__name__)


def prepare_training(
    config: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    data_root: str | None = None,
    class_file: str | None = None,
    void: Sequence[int] = (),
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
        class_file: list of the classes of masks, in place of that in their folder.
        void: values of masks that are ignored.
        bad_boxes: "refuse" or "skip" annotated boxes that reach outside their image.
        clipped: share of a box that may do so: it is clipped.
        resume: "auto" for the last checkpoint of the work dir, or a checkpoint's path.
        amp: mixed precision.
        auto_scale_lr: scale the learning rate by the actual batch size.
        launcher: "none", "pytorch", "slurm" or "mpi".
        epochs, lr: in place of the config's.
        schedule: "fit" to data of other classes than the config's (see ``schedule.fit_schedule``), or "config".

    Raises:
        InputError: something of the above cannot be used. Nothing has been written, but for a demo's data.
    """
    cfg = load_config(config, overrides, _TRAIN_KEYS)
    _set_work_dir(cfg, config, work_dir)
    _check_writable(cfg.work_dir)
    prepare_launch(cfg, launcher)
    if amp:
        _use_amp(cfg)
    if auto_scale_lr:
        _scale_lr(cfg)
    if resume:
        cfg.resume, cfg.load_from = True, _resume_path(resume, cfg.work_dir)
    resumed = read_checkpoint(cfg.load_from) if cfg.get("resume") and cfg.get("load_from") else None
    before = known_classes(cfg)
    configure_data(
        cfg,
        ("train", "val"),
        data_root=data_root,
        class_file=class_file,
        void=void,
        overrides=overrides,
        bad_boxes=bad_boxes,
        clipped=clipped,
        checkpoint=resumed,
    )
    own = known_classes(cfg) != before
    fit_schedule(cfg, own_data=own, overrides=overrides, epochs=epochs, lr=lr, keep=schedule == "config")
    model = build_model(cfg)
    _check_heads(cfg, model, ("train", "val"))
    _check_start(cfg, model, resumed)
    _check_space(cfg, model)
    _add_tensorboard(cfg)
    _add_once(cfg, "custom_hooks", dict(type="PeakMemoryHook"))
    _add_once(cfg, "custom_hooks", dict(type="CurvesHook"))
    _add_once(cfg, "custom_hooks", dict(type="ReportHook"))
    guard_training(cfg)
    return cfg


def prepare_test(
    config: str,
    checkpoint: str,
    *,
    overrides: Mapping[str, Any] | None = None,
    work_dir: str | None = None,
    data_root: str | None = None,
    class_file: str | None = None,
    void: Sequence[int] = (),
    launcher: str = "none",
    tta: bool = False,
    show_dir: str | None = None,
    out: str | None = None,
) -> Config:
    """Turn a config file and the options of ``tools/test.py`` into a config that a Runner can test.

    Args:
        config: path of the config file.
        checkpoint: weights to evaluate, all of which the config's model must find.
        overrides, work_dir, data_root, class_file, void, launcher: as of ``prepare_training``.
        tta: test-time augmentation, see ``tta.augment_test``.
        show_dir: folder for pictures with what was found.
        out: file for results, see ``results.save_predictions`` and ``results.report_metrics``.

    Raises:
        InputError: something of the above cannot be used. Nothing has been written, but for a demo's data.
    """
    weights = read_checkpoint(checkpoint)
    cfg = load_config(config, overrides, _TEST_KEYS)
    _set_work_dir(cfg, config, work_dir)
    for folder in (cfg.work_dir, show_dir, out and os.path.dirname(os.path.abspath(out))):
        if folder:
            _check_writable(folder)
    prepare_launch(cfg, launcher)
    data = dict(data_root=data_root, class_file=class_file, void=void, overrides=overrides)
    configure_data(cfg, ("test",), **data, checkpoint=weights)
    model = build_model(cfg)
    _check_heads(cfg, model, ("test",))
    check_fit(model, weights, checkpoint, exact=False)
    cfg.resume, cfg.load_from = False, checkpoint
    if tta:
        augment_test(cfg)
    if show_dir:
        draw_pictures(cfg, show_dir)
    if out:
        save_predictions(cfg, out)
    return cfg


def build_runner(cfg: Config, suffix: str = "") -> Runner:
    """Make the work dir and the Runner, which leaves the config there.

    Args:
        cfg: of ``prepare_training`` or ``prepare_test``.
        suffix: of that config's file name. An evaluation has one, or it would overwrite the training run's config
            with what is right for this evaluation alone.

    Raises:
        InputError: the work dir cannot be made.
    """
    try:
        os.makedirs(cfg.work_dir, exist_ok=True)
    except OSError as error:
        raise InputError(f"Work dir {cfg.work_dir} cannot be made ({error}). Give another --work-dir.") from error
    if suffix and cfg.filename:
        stem, extension = os.path.splitext(cfg.filename)
        cfg = Config(cfg.to_dict(), cfg_text=cfg.text, filename=f"{stem}{suffix}{extension}")
    init_cpu_group(cfg.launcher)
    runner = with_own_files(RUNNERS.get(cfg.get("runner_type", "Runner"))).from_cfg(cfg)
    if isinstance(getattr(runner, "model", None), nn.Module):  # FlexibleRunner makes it later
        exact_batches.attach(runner.model)
    return runner


def load_config(path: str, overrides: Mapping[str, Any] | None, required: Sequence[str]) -> Config:
    """Load a config, a file or one of the package's by name, with ``overrides`` merged in.

    Raises:
        InputError: no such config; it does not run; it lacks an entry of ``required``.
    """
    try:
        path = str(find_config(path))
    except UnknownConfig as error:
        raise InputError(str(error)) from error
    try:
        cfg = Config.fromfile(path)
        cfg.merge_from_dict(dict(overrides or {}))
    except Exception as error:  # a config is a program; anything can go wrong in it
        raise InputError(f"Config {path} cannot be loaded: {type(error).__name__}: {error}") from error
    absent = [key for key in required if not cfg.get(key)]
    if absent:
        raise InputError(f"Config {path} has no {', '.join(absent)}; it needs {', '.join(required)}.")
    return cfg


def build_model(cfg: Config) -> nn.Module:
    """Build the config's model on the CPU, as the Runner will, to find out now whether it can be built.

    Raises:
        InputError: an entry of ``cfg.model`` is wrong.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor"):
        model.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    try:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            model = MODELS.build(model)
        check_channels(model)
        return model
    except (ValueError, TypeError, KeyError, AssertionError) as error:
        reason = error.args[0] if error.args else type(error).__name__
        raise InputError(f"The model of {cfg.filename} cannot be built: {reason}") from error


def _check_heads(cfg: Config, model: nn.Module, phases: Sequence[str]) -> None:
    """Hold each head against the classes of its data: too few outputs fail amid a loss."""
    wanted = {len(classes) for classes in class_names(cfg, phases)}
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


def _set_work_dir(cfg: Config, config: str, work_dir: str | None) -> None:
    name = os.path.splitext(os.path.basename(config))[0]
    cfg.work_dir = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", name)


def _nearest_folder(path: str) -> str:
    path = os.path.abspath(path)
    while not os.path.lexists(path):
        path = os.path.dirname(path)
    return path


def _check_writable(folder: str) -> None:
    existing = _nearest_folder(folder)
    if not os.path.isdir(existing):
        raise InputError(f"{folder} cannot be a folder: {existing} is a file. Give another.")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise InputError(f"No permission to write in {existing}, needed for {folder}. Give another.")


def _check_space(cfg: Config, model: nn.Module) -> None:
    """Room for two checkpoints at least: a new one is written before the old one is deleted."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    moments = 8 * sum(p.numel() for p in model.parameters() if p.requires_grad)  # AdamW's two, 4 bytes each
    needed = 2 * (weights + moments) + _LOG_BYTES
    free = shutil.disk_usage(_nearest_folder(cfg.work_dir)).free
    if free < needed:
        raise InputError(
            f"Work dir {cfg.work_dir} has {free / 2**30:.1f} GiB free; two checkpoints of this model take "
            f"{needed / 2**30:.1f} GiB. Free some space or give another --work-dir."
        )


def _use_amp(cfg: Config) -> None:
    kind = cfg.optim_wrapper.get("type", "OptimWrapper")
    if kind not in ("OptimWrapper", "AmpOptimWrapper"):
        raise InputError(f"--amp works with optim_wrapper type OptimWrapper, not {kind}. Leave it out.")
    if cfg.get("strategy"):
        raise InputError(
            f"--amp does not go with {cfg.strategy.type}, which has its own mixed precision "
            "(strategy.model_wrapper.mixed_precision). Leave it out."
        )
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


def _resume_path(resume: str, work_dir: str) -> str:
    """The checkpoint to go on from."""
    if resume != "auto":
        return resume
    path = last_checkpoint(work_dir)
    if path is None:
        raise InputError(
            f"--resume finds nothing to resume: {work_dir} has no last_checkpoint that names one. Give the --work-dir "
            "of the run to go on with, or a checkpoint after --resume, or leave it out to start anew."
        )
    return str(path)


def _check_start(cfg: Config, model: nn.Module, checkpoint: Mapping[str, Any] | None) -> None:
    """Hold the checkpoint to resume against the model, or read what training starts from."""
    if checkpoint is not None:
        absent = [key for key in _RESUME_KEYS if key not in checkpoint]
        if absent:
            raise InputError(
                f"{cfg.load_from} cannot be resumed: it has no {', '.join(absent)}, only weights perhaps. To "
                "start a new run from its weights, leave --resume out and give --cfg-options load_from=FILE."
            )
        check_fit(model, checkpoint, cfg.load_from, exact=True)
        optimizer = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper)).optimizer
        check_optimizer(checkpoint["optimizer"], model, optimizer.param_groups, cfg.load_from)
        adopt_seed(cfg, checkpoint)
        return
    for path in [cfg.get("load_from"), *_pretrained_files(cfg.model)]:
        if path and "://" not in path:
            read_checkpoint(path)
    if isinstance(model, ImageClassifier):
        check_start(model)
    for part in model.modules():
        if isinstance(part, DenseBackbone) and part.init_cfg:
            _check_backbone_weights(part)


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


def _add_once(cfg: Config, key: str, entry: dict[str, Any]) -> None:
    """Append to a list of the config, unless an entry of that type is there: a work dir's config has it."""
    entries = list(cfg.get(key) or [])
    if not any(item.get("type") == entry["type"] for item in entries):
        cfg[key] = [*entries, entry]


def _add_tensorboard(cfg: Config) -> None:
    cfg.setdefault("visualizer", ConfigDict(type="Visualizer", vis_backends=[dict(type="LocalVisBackend")]))
    _add_once(cfg.visualizer, "vis_backends", dict(type="TensorboardVisBackend"))
