"""Weights of every origin, in timm's layout, with what their origin tells of them."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import InputError, listed
from ..variants import default_cfgs, fetch_published, find_published
from ..weights.safe_load import extract_state_dict, read_checkpoint
from ..weights.tensorflow_layout import from_tensorflow, has_averages, is_tensorflow, read_tensorflow
from ..weights.torchvision_layout import is_torchvision, own_layout
from ..work_dir import last_checkpoint
from .run_record import RunRecord, is_run, read_run

FIRST_CONV = "stem.conv1.weight"
WEIGHTS_FILE, HUB_CONFIG = "model.safetensors", "config.json"  # timm's hub form
_AVERAGES = ("state_dict_ema", "model_ema", "ema_state_dict")


@dataclass(frozen=True)
class Source:
    """Weights and what is known of them.

    Attributes:
        weights: tensors in timm's layout, of a MaxViT alone.
        kind: "published", "tensorflow", "torchvision", "run" or "weights".
        name: of the file, folder or published weights, without a path.
        averaged: they are a moving average (EMA).
        tag: of the published weights that they are, if known.
        hub_config: what lay beside them as ``config.json``.
        run: what the run that made them says.
    """

    weights: dict[str, Tensor]
    kind: str
    name: str
    averaged: bool = False
    tag: str | None = None
    hub_config: Mapping[str, Any] = field(default_factory=dict)
    run: RunRecord | None = None


def read_source(source: str, averaged: bool = True) -> Source:
    """Reads weights of any origin.

    Args:
        source: name of published weights ("maxvit_t.in1k_384", timm's name too); a TensorFlow checkpoint or its dump
            (see ``tensorflow_weights``); a work dir of mmengine's Runner, for its last checkpoint; a checkpoint or
            weights file of torchvision, timm, a Runner or this project, a whole detector among them; a folder in
            timm's hub form.
        averaged: take the moving average where there is one.

    Raises:
        InputError: there is no such thing, it cannot be read, or holds no MaxViT.
        OSError: published weights that cannot be reached.
    """
    for variant in default_cfgs:
        cfg = find_published(variant, source) if source.startswith(("maxvit_", "coatnet_")) else None
        if cfg is not None:
            weights = fetch_published(variant, cfg)
            return Source(_own_layout(weights, source), "published", source, tag=cfg.tag)
    path = Path(os.path.abspath(source))
    if is_tensorflow(path):
        variables = read_tensorflow(path)
        is_average = averaged and has_averages(variables)
        return Source(from_tensorflow(variables, averaged), "tensorflow", path.name, is_average)
    return _read_checkpoint_file(_file_in(path), averaged)


def _file_in(path: Path) -> Path:
    if not path.is_dir():
        return path
    if (path / WEIGHTS_FILE).is_file():
        return path / WEIGHTS_FILE
    last = last_checkpoint(path)
    if last is None:
        raise InputError(f"{path} has no last_checkpoint: it is no work dir, or the run saved nothing yet.")
    return last


def _read_checkpoint_file(path: Path, averaged: bool) -> Source:
    checkpoint = read_checkpoint(path)
    found = extract_state_dict(checkpoint, averaged)
    weights = _own_layout(found, path.name)
    has_average = any(isinstance(checkpoint.get(key), Mapping) for key in _AVERAGES)
    is_average = averaged and has_average
    if is_run(checkpoint):
        run = read_run(checkpoint, path)
        if has_average and not averaged:
            run = replace(run, metric=None)  # a Runner evaluates the average
        return Source(weights, "run", path.name, is_average, run=run)
    if is_torchvision(found):
        return Source(weights, "torchvision", path.name, is_average, tag="tv_in1k")
    return Source(weights, "weights", path.name, is_average, hub_config=_hub_config(path))


def _own_layout(state_dict: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    """The MaxViT in a state dict, without the prefix of what it is part of."""
    try:
        state_dict = own_layout(state_dict)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    prefixes = [key.removesuffix(FIRST_CONV) for key in state_dict if key.endswith(FIRST_CONV)]
    if len(prefixes) != 1:
        raise InputError(
            f"{name} holds {len(prefixes) or 'no'} MaxViT networks ({', '.join(prefixes) or 'no ' + FIRST_CONV}); its "
            f"tensors begin with {listed(state_dict)}. Give weights that hold one."
        )
    prefix = prefixes[0]
    return {key.removeprefix(prefix): value for key, value in state_dict.items() if key.startswith(prefix)}


def _hub_config(path: Path) -> dict[str, Any]:
    """The ``config.json`` beside a weights file, if it is one of timm's hub form."""
    if path.name != WEIGHTS_FILE:
        return {}
    try:
        config = json.loads((path.parent / HUB_CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) and isinstance(config.get("pretrained_cfg"), dict) else {}
