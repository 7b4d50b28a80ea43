"""What a run's checkpoints say of it, in plain values, for whoever takes the weights out of them."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from torch import nn

from ...maxvit import MaxViT
from ..data.data_set import data_sets

FACTS = "maxvit_dense"  # their name in a checkpoint's meta
_EVALUATION = ("crop_pct", "crop_mode", "interpolation")


def run_facts(cfg: Config, model: nn.Module, meta: Mapping[str, Any]) -> dict[str, Any]:
    """What ``export.run_record`` reads; None for what the run does not tell.

    Args:
        cfg: the Runner's.
        model: the one in training.
        meta: of the checkpoint.

    Returns:
        ``data``, name of the data root; ``classes``, their names; ``mask_values``, see below; ``mean`` and ``std``
        for images from 0 to 1;
        ``window_size`` of the network, a pair or "ratio"; how a classifier is evaluated: ``input_size`` in pixels and
        timm's ``crop_pct``, ``crop_mode`` and ``interpolation``; ``metric_step``, "epoch" or "iter", which an
        evaluation is logged under.
    """
    root = _first(cfg.get("train_dataloader"), "data_root")
    classes = (meta.get("dataset_meta") or {}).get("classes")
    preprocessor = cfg.get("data_preprocessor") or _first(cfg.get("model"), "data_preprocessor")
    validation = cfg.get("val_dataloader") or cfg.get("test_dataloader")
    size = _first(validation, "input_size")
    logger = (cfg.get("default_hooks") or {}).get("logger") or {}
    return dict(
        metric_step="iter" if logger.get("log_metric_by_epoch") is False else "epoch",
        data=Path(root).name if isinstance(root, str) and root else None,
        classes=[str(name) for name in classes] if isinstance(classes, list | tuple) else None,
        mask_values=mask_values(cfg),
        mean=_unit(_first(preprocessor, "mean")),
        std=_unit(_first(preprocessor, "std")),
        window_size=next((part.window_size for part in model.modules() if isinstance(part, MaxViT)), None),
        input_size=size if isinstance(size, int) else None,
        **{key: _first(validation, key) for key in _EVALUATION},
    )


def mask_values(cfg: Config) -> list[int] | None:
    """The value of each class in the masks of a segmentor's training data; None for data of other kinds."""
    phase = "train" if cfg.get("train_dataloader") else "test"
    data = next(iter(data_sets(cfg, (phase,))), None)
    if cfg.get("default_scope") != "mmseg" or data is None:
        return None
    if data.entry.get("values"):
        return list(data.entry["values"])
    asked = inspect.signature(data.kind.__init__).parameters.get("reduce_zero_label")
    from_one = data.entry.get("reduce_zero_label", asked.default if asked else False)
    return [label + bool(from_one) for label in range(len(data.classes))]


def _first(values: Any, key: str) -> Any:
    """The outermost value of that name within nested dictionaries and lists; None if there is none."""
    level = [values]
    while level:
        mappings = [part for part in level if isinstance(part, Mapping)]
        found = next((part[key] for part in mappings if part.get(key) is not None), None)
        if found is not None:
            return found
        level = [child for part in level for child in _children(part)]
    return None


def _children(part: Any) -> list[Any]:
    if isinstance(part, Mapping):
        return list(part.values())
    return list(part) if isinstance(part, list | tuple) else []


def _unit(values: Any) -> list[float] | None:
    """Mean or standard deviation for images from 0 to 1; mmengine's are for 0 to 255."""
    if not values:
        return None
    scale = 1 if max(values) <= 1 else 255
    return [round(value / scale, 6) for value in values]
