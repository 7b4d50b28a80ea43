"""Builds what a Runner will build, before the Runner and its work dir exist: what cannot be built is said by its key.

mmengine makes the work dir first, and then one part after another, some of them minutes into the run.
"""

import copy
import inspect
import io
import logging
import random
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed, sync_random_seed
from mmengine.evaluator import Evaluator
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.model import BaseModule, initialize
from mmengine.optim import build_optim_wrapper
from mmengine.registry import HOOKS, LOG_PROCESSORS, LOOPS, VISBACKENDS, VISUALIZERS, DefaultScope
from mmengine.runner import LogProcessor, Runner
from mmengine.runner.priority import get_priority
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ..errors import InputError
from .backbones.dense import DenseBackbone
from .config_parts import shown
from .draws import repeatable_dataset
from .launch import init_cpu_group, keep_workers

_NAME = "maxvit_dense: what is built to see whether it can be"
_LONGEST_REASON = 600  # characters
_LOOP_OF = {
    "train": lambda cfg: "EpochBasedTrainLoop" if cfg.get("by_epoch") else "IterBasedTrainLoop",
    "val": lambda cfg: "ValLoop",
    "test": lambda cfg: "TestLoop",
}


@contextmanager
def building(key: str, given: Any = None, what: str = "built") -> Iterator[None]:
    """What fails inside is an InputError that names ``key``.

    Args:
        key: dotted, of the config.
        given: what stands there.
        what: cannot be done with it.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # constructors of every kind, of several packages
        held = "" if given is None else f" It is {shown(_plain(given))}."
        raise InputError(f"{key} cannot be {what}: {reason(error)}.{held}") from error


def reason(error: Exception) -> str:
    """One line of an exception: its type where its text alone would say little."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    text = text.partition(" Please check whether the value")[0].rstrip(".")[:_LONGEST_REASON]
    if isinstance(error, InputError | ValueError | AssertionError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def quietly() -> Iterator[None]:
    """What parts print of themselves while they are built is said again by the run."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


class _Loader:
    """Stands in for a data loader where its length is all that is asked for."""

    dataset = SimpleNamespace(metainfo={})
    batch_size = 1

    def __len__(self) -> int:
        return 1000

    def __iter__(self) -> Iterator:  # upstream's iteration-based loop takes one when it is built
        return iter(())


class _Stage(SimpleNamespace):
    """Stands in for a Runner where loops, schedules and evaluators are built."""

    train_dataloader = _Loader()
    logger = SimpleNamespace(debug=lambda *_: None)
    max_epochs = property(lambda self: self._train_loop.max_epochs)
    max_iters = property(lambda self: self._train_loop.max_iters)

    @staticmethod
    def build_evaluator(evaluator: Any) -> Evaluator:
        return Runner.build_evaluator(None, evaluator)


def rehearse(cfg: Config, model: nn.Module, phases: tuple[str, ...]) -> nn.Module:
    """Build what a Runner will of ``cfg``, but for its data (see ``build_loaders``) and the model.

    Args:
        cfg: whose values were checked; it stays as it is.
        model: that of ``cfg``.
        phases: of "train", "val", "test".

    Returns:
        The optimizer wrapper, of training; else None.

    Raises:
        InputError: naming the key that cannot be built.
    """
    with quietly(), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        stage = _Stage(visualizer=SimpleNamespace(), _train_loop=None)
        for phase in phases:
            _build_loop(stage, cfg, phase)
        with _visualizer(cfg):
            _build_hooks(cfg)
        _build_reports(cfg)
        if "train" not in phases:
            return None
        if cfg.get("runner_type", "Runner") != "Runner":  # its strategy decides how
            return None
        with building("optim_wrapper", cfg.optim_wrapper):
            optim_wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
        if cfg.get("param_scheduler"):
            with building("param_scheduler", cfg.param_scheduler):
                Runner._build_param_scheduler(stage, cfg.param_scheduler, optim_wrapper)
        return optim_wrapper


def _build_loop(stage: _Stage, cfg: Config, phase: str) -> None:
    entry = cfg.get(f"{phase}_cfg")
    if entry is None or not cfg.get(f"{phase}_dataloader"):
        return
    arguments = dict(copy.deepcopy(entry))
    arguments.setdefault("type", _LOOP_OF[phase](arguments))
    arguments.pop("by_epoch", None)
    arguments.update(runner=stage, dataloader=_Loader())
    if phase != "train":
        with building(f"{phase}_evaluator", cfg.get(f"{phase}_evaluator")):
            arguments["evaluator"] = stage.build_evaluator(copy.deepcopy(cfg.get(f"{phase}_evaluator")))
    with building(f"{phase}_cfg", entry):
        loop = LOOPS.build(arguments)
    if phase == "train":
        stage._train_loop = loop


@contextmanager
def _visualizer(cfg: Config) -> Iterator[None]:
    """The config's visualizer without its backends, which write; hooks ask for the current one."""
    entry = dict(copy.deepcopy(cfg.get("visualizer") or {}))
    entry.update(name=_NAME, vis_backends=None, save_dir=None)
    entry.setdefault("type", "Visualizer")
    with building("visualizer", cfg.get("visualizer")):
        visualizer = VISUALIZERS.build(entry)
    try:
        yield
    finally:
        for kind in (type(visualizer), Visualizer):
            kind._instance_dict.pop(_NAME, None)


def _build_hooks(cfg: Config) -> None:
    named = [(f"default_hooks.{name}", hook) for name, hook in (cfg.get("default_hooks") or {}).items()]
    named += [(f"custom_hooks[{i}]", hook) for i, hook in enumerate(cfg.get("custom_hooks") or [])]
    for key, hook in named:
        if hook is None:
            continue
        with building(key, hook):
            arguments = dict(copy.deepcopy(hook))
            priority = arguments.pop("priority", None)
            built = HOOKS.build(arguments)
            if not isinstance(built, Hook):
                raise TypeError(f"{type(built).__name__} is no hook")
            get_priority(built.priority if priority is None else priority)


def _build_reports(cfg: Config) -> None:
    if cfg.get("log_processor"):
        with building("log_processor", cfg.log_processor):
            arguments = dict(copy.deepcopy(cfg.log_processor))
            arguments.setdefault("type", "LogProcessor")
            assert isinstance(LOG_PROCESSORS.build(arguments), LogProcessor)
    for i, backend in enumerate((cfg.get("visualizer") or {}).get("vis_backends") or []):
        with building(f"visualizer.vis_backends[{i}]", backend):
            kind = VISBACKENDS.get(backend["type"]) if isinstance(backend["type"], str) else backend["type"]
            _check_arguments(kind, {**backend, "save_dir": "."})


def _check_arguments(kind: Callable, arguments: Mapping[str, Any]) -> None:
    """Whether something takes these arguments, where building it would write."""
    inspect.signature(kind).bind(**{name: value for name, value in arguments.items() if name != "type"})


def check_init(model: nn.Module) -> None:
    """Initialise each part of a model that has an ``init_cfg``, backbones of this package and the model itself aside.

    Raises:
        InputError: one cannot be used, or names a file that is not there or is no checkpoint.
    """
    for name, part in model.named_modules():
        if not isinstance(part, BaseModule) or isinstance(part, DenseBackbone) or not part.init_cfg:
            continue
        with building(f"model.{name}.init_cfg" if name else "model.init_cfg", part.init_cfg):
            initialize(part, copy.deepcopy(part.init_cfg))


def build_loaders(cfg: Config, phases: tuple[str, ...]) -> dict[str, DataLoader]:
    """The data loaders that the Runner will use.

    Joins the processes of a run, since samplers share the data among them. Settles the seed, if ``cfg`` has none.

    Raises:
        InputError: one cannot be built.
    """
    _join_processes(cfg)
    randomness = cfg.setdefault("randomness", dict(seed=None))
    if randomness.get("seed") is None:
        randomness["seed"] = sync_random_seed()
    loaders = {}
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        for phase in phases:
            entry = cfg.get(f"{phase}_dataloader")
            if entry is None or cfg.get(f"{phase}_cfg") is None:
                continue
            with building(f"{phase}_dataloader", {k: v for k, v in entry.items() if k != "dataset"}):
                repeatable = repeatable_dataset(cfg) if phase == "train" else None
                loaders[phase] = Runner.build_dataloader(
                    entry if repeatable is None else dict(entry, dataset=repeatable),
                    seed=randomness["seed"],
                    diff_rank_seed=randomness.get("diff_rank_seed", False),
                )
                if not len(loaders[phase]):
                    raise ValueError(f"its {len(loaders[phase].dataset)} images fill no batch")
            keep_workers(loaders[phase])
    return loaders


def _join_processes(cfg: Config) -> None:
    launcher = cfg.get("launcher", "none")
    init_cpu_group(launcher)
    if launcher != "none" and not is_distributed():
        with building("env_cfg.dist_cfg", (cfg.get("env_cfg") or {}).get("dist_cfg")):
            init_dist(launcher, **(cfg.get("env_cfg") or {}).get("dist_cfg", {}))


@contextmanager
def random_state_kept() -> Iterator[None]:
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])
