"""Builds what a Runner will build, before the Runner and its work dir exist: what cannot be built is said by its key.

mmengine makes the work dir first, and then one part after another, some of them minutes into the run.
"""

import copy
import inspect
import io
import logging
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dist import init_dist, is_distributed, sync_random_seed
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import VISBACKENDS, VISUALIZERS, DefaultScope
from mmengine.runner import Runner
from mmengine.visualization import Visualizer
from torch import nn
from torch.utils.data import DataLoader

from ..config.building import building
from ..data.draws import repeatable_dataset
from .launch import init_cpu_group, keep_workers

_NAME = "maxvit_dense: what is built to see whether it can be"


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


class _Loader:
    """Stands in for a data loader where its length is all that is asked for."""

    dataset = SimpleNamespace(metainfo={})

    def __len__(self) -> int:
        return 1000

    def __iter__(self) -> Iterator:  # upstream's iteration-based loop takes one when it is built
        return iter(())


class _Stage(Runner):
    """A Runner with what building its parts needs, and nothing else: mmengine's own writes as it begins."""

    def __init__(self, model: nn.Module):
        self.model = model
        self.logger, self.visualizer = SimpleNamespace(debug=lambda *_: None), SimpleNamespace()
        self._hooks = [Hook()]  # a priority is looked at beside another's
        self._train_dataloader = self._val_dataloader = self._test_dataloader = _Loader()

    def build_evaluation(self, phase: str, loop: Mapping[str, Any], evaluator: Any) -> None:
        with building(f"{phase}_evaluator", evaluator):
            setattr(self, f"_{phase}_evaluator", self.build_evaluator(copy.deepcopy(evaluator)))
        with building(f"{phase}_cfg", loop):
            getattr(self, f"build_{phase}_loop")(loop)

    def build_training(self, cfg: Config) -> None:
        with building("train_cfg", cfg.train_cfg):
            self._train_loop = self.build_train_loop(cfg.train_cfg)
        if cfg.get("runner_type", "Runner") != "Runner":  # its strategy decides how
            return
        with building("optim_wrapper", cfg.optim_wrapper):
            self.optim_wrapper = self.build_optim_wrapper(copy.deepcopy(cfg.optim_wrapper))
        if cfg.get("param_scheduler"):
            with building("param_scheduler", cfg.param_scheduler):
                self.build_param_scheduler(cfg.param_scheduler)


def rehearse(cfg: Config, model: nn.Module, phases: tuple[str, ...]) -> OptimWrapper | None:
    """Build what a Runner will of ``cfg``, but for its data (see ``build_loaders``) and the model.

    Args:
        cfg: whose values were checked; it stays as it is.
        model: that of ``cfg``.
        phases: of "train", "val", "test".

    Returns:
        The optimizer wrapper of training; None without one, or where a strategy builds it.

    Raises:
        InputError: naming the key that cannot be built.
    """
    with quietly(), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        stage = _Stage(model)
        for phase in phases:
            if phase == "train":
                stage.build_training(cfg)
            elif cfg.get(f"{phase}_cfg") is not None and cfg.get(f"{phase}_dataloader"):
                stage.build_evaluation(phase, cfg[f"{phase}_cfg"], cfg.get(f"{phase}_evaluator"))
        with _visualizer(cfg):
            for key, hook in _hooks(cfg):
                with building(key, hook):
                    stage.register_hook(copy.deepcopy(hook))
        if cfg.get("log_processor"):
            with building("log_processor", cfg.log_processor):
                stage.build_log_processor(cfg.log_processor)
        for i, backend in enumerate((cfg.get("visualizer") or {}).get("vis_backends") or []):
            with building(f"visualizer.vis_backends[{i}]", backend):  # which write as soon as they are built
                kind = VISBACKENDS.get(backend["type"]) if isinstance(backend["type"], str) else backend["type"]
                inspect.signature(kind).bind(**{k: v for k, v in {**backend, "save_dir": "."}.items() if k != "type"})
        return getattr(stage, "optim_wrapper", None)


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


def _hooks(cfg: Config) -> Iterator[tuple[str, Any]]:
    named = {f"default_hooks.{name}": hook for name, hook in (cfg.get("default_hooks") or {}).items()}
    named |= {f"custom_hooks[{i}]": hook for i, hook in enumerate(cfg.get("custom_hooks") or [])}
    return ((key, hook) for key, hook in named.items() if hook is not None)


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
