"""From a config's name to the config, checked, and to its model."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.model import BaseTTAModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.utils import import_modules_from_strings
from torch import nn

from ...config_names import UnknownConfig, find_config
from ...errors import InputError
from ..backbones.dense import check_channels
from .building import building
from .values import check_phases, check_values, new_keys


def load_config(path: str, overrides: Mapping[str, Any] | None, required: Sequence[str]) -> Config:
    """Load a config, a file or one of the package's by name, with ``overrides`` merged in.

    Raises:
        InputError: no such config; it does not run; it lacks an entry of ``required``; a value in it cannot work.
    """
    try:
        path = str(find_config(path))
    except UnknownConfig as error:
        raise InputError(str(error)) from error
    try:
        cfg = Config.fromfile(path)
        new = list(new_keys(dict(cfg.items()), overrides or {}))
        for key in overrides or {}:
            _fill_nones(cfg, key.split(".")[:-1])
        cfg.merge_from_dict(dict(overrides or {}))
    except Exception as error:  # a config is a program; anything can go wrong in it
        raise InputError(f"Config {path} cannot be loaded: {type(error).__name__}: {error}") from error
    absent = [key for key in required if not cfg.get(key)]
    if absent:
        raise InputError(f"Config {path} has no {', '.join(absent)}; it needs {', '.join(required)}.")
    check_values(cfg, overrides or {}, new)
    check_phases(cfg)
    if any(key.partition(".")[0] == "custom_imports" for key in overrides or {}) and cfg.custom_imports:
        with building("custom_imports", cfg.custom_imports, "imported"):  # those of the file are by now
            import_modules_from_strings(**cfg.custom_imports)
    return cfg


def _fill_nones(cfg: Config | Mapping, parts: Sequence[str]) -> None:
    """Put a dict where a config has None above an entry of the command line, which mmengine would refuse to merge.

    So ``model.backbone.init_cfg.type=Pretrained`` goes with ``init_cfg=None``, by which a config leaves weights out.
    """
    for part in parts:
        if not isinstance(cfg, Config | Mapping) or part not in cfg:
            return
        if cfg[part] is None:
            cfg[part] = ConfigDict()
        cfg = cfg[part]


def build_model(cfg: Config) -> nn.Module:
    """Build the config's model on the CPU, as the Runner will, to find out now whether it can be built.

    Raises:
        InputError: an entry of ``cfg.model`` is wrong.
    """
    model = copy.deepcopy(cfg.model)
    if cfg.get("data_preprocessor"):
        model.setdefault("data_preprocessor", copy.deepcopy(cfg.data_preprocessor))
    with building(f"The model of {cfg.filename}"), DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
        model = MODELS.build(model)
        check_channels(of_views(model))
    return model


def of_views(model: nn.Module) -> nn.Module:
    """The model that test-time augmentation shows its views, or the model itself."""
    return model.module if isinstance(model, BaseTTAModel) else model
