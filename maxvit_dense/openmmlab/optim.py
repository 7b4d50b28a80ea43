"""Learning rates of the backbone's layers, for detectors and segmentors with a backbone that knows its layers."""

from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from ..errors import InputError


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with two entries of ``paramwise_cfg`` added. 1.0, the default of both, changes nothing.

    ``layer_decay_rate``: a parameter of layer i of the backbone's L layers (``layer_ids()``: the stem is 0, then each
    block) learns at the rate lr * layer_decay_rate ** (L - i), so the last block at one step of decay and everything
    outside the backbone at lr (ConvNeXt's rule, with MaxViT's own layers).

    ``backbone_lr_mult``: times this rate for the whole backbone, as detection transformers have it. A custom key
    "backbone" would do so too, but set aside the rules for norms and biases there: mmengine applies either.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise_cfg = dict(paramwise_cfg or {})
        self.layer_decay_rate = _factor(paramwise_cfg, "layer_decay_rate")
        self.backbone_lr_mult = _factor(paramwise_cfg, "backbone_lr_mult")
        # An empty paramwise_cfg would make mmengine skip add_params; this key is its own default.
        super().__init__(optim_wrapper_cfg, paramwise_cfg or {"bypass_duplicate": False})

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
        super().add_params(params, module, prefix, **kwargs)
        if prefix:
            return
        model = module.module if is_model_wrapper(module) else module
        if self.layer_decay_rate < 1.0:
            self._decay(params, model)
        if self.backbone_lr_mult < 1.0:
            self._slow_backbone(params, model)
        params[:] = _merged(params, dict(lr=self.base_lr, weight_decay=self.base_wd))

    def _decay(self, params: list[dict], model: nn.Module) -> None:
        backbone = getattr(model, "backbone", None)
        if not hasattr(backbone, "layer_ids"):
            raise InputError(
                f"layer_decay_rate={self.layer_decay_rate} needs a backbone with layer_ids(), such as MaxViT; this "
                f"model's is {type(backbone).__name__}. Set layer_decay_rate=1.0"
            )
        depths = backbone.layer_ids()
        by_id = {id(p): depths[name] for name, p in backbone.named_parameters() if name in depths}
        layers = max(depths.values()) + 1
        for group in params:
            depth = by_id.get(id(group["params"][0]), layers)
            group["lr"] = group.get("lr", self.base_lr) * self.layer_decay_rate ** (layers - depth)
        print_log(f"Layer-wise learning rates: {layers} layers, decay {self.layer_decay_rate}", logger="current")

    def _slow_backbone(self, params: list[dict], model: nn.Module) -> None:
        if not hasattr(model, "backbone"):
            raise InputError(
                f"backbone_lr_mult={self.backbone_lr_mult} needs a model with a backbone, which "
                f"{type(model).__name__} has not. Set backbone_lr_mult=1.0"
            )
        inside = {id(p) for p in model.backbone.parameters()}
        for group in params:
            if id(group["params"][0]) in inside:
                group["lr"] = group.get("lr", self.base_lr) * self.backbone_lr_mult


def _factor(paramwise_cfg: dict, name: str) -> float:
    """Take the factor of that name out, 1.0 where it is not given."""
    factor = paramwise_cfg.pop(name, 1.0)
    if not 0.0 < factor <= 1.0:
        raise InputError(f"{name}={factor!r}: give a factor above 0 and up to 1")
    return factor


# Of a custom key, mmengine leaves the factors that it has applied in the group.
_NO_SETTINGS = ("params", "lr_mult", "decay_mult")


def _merged(groups: list[dict], defaults: dict) -> list[dict]:
    """Groups of equal settings as one, in the order of their first ones; mmengine makes one for each parameter.

    A setting that a group lacks is the default's. Fused and foreach optimizers take a step a group, and 494 groups of
    two settings are 494 of them.
    """
    merged: dict[tuple, dict] = {}
    for group in groups:
        settings = {name: value for name, value in group.items() if name not in _NO_SETTINGS}
        kept = merged.setdefault(tuple(sorted((defaults | settings).items())), dict(settings, params=[]))
        kept["params"] += group["params"]
    return list(merged.values())
