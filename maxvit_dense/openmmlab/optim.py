"""Layer-wise learning-rate decay for detectors and segmentors with a backbone that knows its layers."""

from typing import Any

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """mmengine's constructor, with ``paramwise_cfg["layer_decay_rate"]`` added.

    A parameter of layer i of the backbone's L layers (``layer_ids()``: the stem is 0, then each block) learns at the
    rate lr * layer_decay_rate ** (L - i), so the last block at one step of decay and everything outside the backbone
    at lr (ConvNeXt's rule, with MaxViT's own layers). 1.0, the default, changes nothing.
    """

    def __init__(self, optim_wrapper_cfg: dict, paramwise_cfg: dict | None = None):
        paramwise_cfg = dict(paramwise_cfg or {})
        self.layer_decay_rate = paramwise_cfg.pop("layer_decay_rate", 1.0)
        if not 0.0 < self.layer_decay_rate <= 1.0:
            raise ValueError(f"layer_decay_rate={self.layer_decay_rate!r}: give a factor above 0 and up to 1")
        # An empty paramwise_cfg would make mmengine skip add_params; this key is its own default.
        super().__init__(optim_wrapper_cfg, paramwise_cfg or {"bypass_duplicate": False})

    def add_params(self, params: list[dict], module: nn.Module, prefix: str = "", **kwargs: Any) -> None:
        super().add_params(params, module, prefix, **kwargs)
        if prefix == "" and self.layer_decay_rate < 1.0:
            self._decay(params, module)

    def _decay(self, params: list[dict], model: nn.Module) -> None:
        model = model.module if is_model_wrapper(model) else model
        backbone = getattr(model, "backbone", None)
        if not hasattr(backbone, "layer_ids"):
            raise ValueError(
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
