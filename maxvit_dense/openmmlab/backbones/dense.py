"""What the backbones of this package share: a network with timm's interface, its maps, freezing, start weights."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

NUM_STAGES = 4  # strides 4, 8, 16 and 32

# The parts of a detector or segmentor that take the backbone's maps, the first of them that it has.
_CONSUMERS = ("neck", "decode_head", "auxiliary_head")


class DenseBackbone(BaseModule):
    """A network of timm's as a backbone of OpenMMLab.

    A subclass sets ``net``, with timm's interface and without what its maps do not need; ``taps``, timm's index of
    each map of ``out_indices``; ``frozen_stages`` and ``norm_eval``; and tells where weights come from.
    """

    net: nn.Module
    taps: tuple[int, ...]
    frozen_stages: int = -1
    norm_eval: bool = False

    @property
    def channels(self) -> list[int]:
        """Width of each map that is returned."""
        return [self.net.feature_info[tap]["num_chs"] for tap in self.taps]

    def init_weights(self) -> None:
        """Loads what ``init_cfg`` names; without it the weights stay as the network initialised itself."""
        if self.init_cfg and not self.is_init:
            logger = MMLogger.get_current_instance()
            weights = self.read_weights(logger)
            if weights is not None:
                self.load_weights(weights, logger)
        self.is_init = True

    def read_weights(self, logger: logging.Logger) -> dict[str, Tensor] | None:
        """Tensors that ``init_cfg`` names; None if they are allowed to be out of reach, and are."""
        raise NotImplementedError

    def load_weights(self, weights: Mapping[str, Tensor], logger: logging.Logger) -> None:
        """Puts them into ``net``, and logs what was loaded and left out."""
        raise NotImplementedError

    def layer_ids(self) -> dict[str, int]:
        """Depth of each parameter for layer-wise learning rates: 0 for the stem, then one more for each block."""
        return {f"net.{name}": depth for name, depth in self._layer_groups().items()}

    def _layer_groups(self, coarse: bool = False) -> dict[str, int]:
        """Layer of each of the network's parameters, blocks counted one by one or, if coarse, by stages.

        Raises:
            ValueError: timm does not know the layers of this network.
        """
        if not hasattr(self.net, "group_matcher"):
            raise ValueError(
                f"timm does not tell the layers of {type(self.net).__name__}: leave frozen_stages at -1 and "
                "layer_decay_rate at 1.0"
            )
        return group_parameters(self.net, self.net.group_matcher(coarse=coarse), reverse=True)

    def freeze(self) -> None:
        """Takes the gradient from the stem and the first ``frozen_stages`` stages, as timm's coarse groups count."""
        if self.frozen_stages == -1:
            return
        groups = self._layer_groups(coarse=True)
        for name, parameter in self.net.named_parameters():
            parameter.requires_grad_(groups[name] > self.frozen_stages)

    def train(self, mode: bool = True) -> "DenseBackbone":
        super().train(mode)
        for module in self.net.modules():
            parameters = list(module.parameters()) if self.frozen_stages >= 0 else []
            if parameters and not any(p.requires_grad for p in parameters):
                module.eval()
            if self.norm_eval and isinstance(module, _NormBase):  # SyncBatchNorm too
                module.eval()
        return self

    @property
    def strides(self) -> list[int]:
        """Stride of each map that is returned."""
        return [self.net.feature_info[tap]["reduction"] for tap in self.taps]

    def forward(self, x: Tensor, **kwargs: Any) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> one (B, C, H / stride, W / stride) for each of ``out_indices``."""
        ascending = sorted(set(self.taps))
        maps = self.net.forward_intermediates(x, indices=ascending, intermediates_only=True, **kwargs)
        by_tap = dict(zip(ascending, maps, strict=True))
        return tuple(by_tap[tap] for tap in self.taps)


def check_arguments(
    out_indices: Sequence[int], frozen_stages: int, init_cfg: Any, example: str, **flags: bool
) -> None:
    """Checks what all backbones take; ``example`` is a tag that ``init_cfg`` could name.

    Raises:
        ValueError: an argument out of its range.
    """
    for name, value in flags.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name}={value!r}: give True or False")
    stages = list(out_indices) if isinstance(out_indices, Iterable) else []
    if not stages or any(i not in range(NUM_STAGES) for i in stages):
        raise ValueError(f"out_indices={out_indices!r}: give some of 0, 1, 2, 3 (strides 4, 8, 16, 32)")
    if frozen_stages not in range(-1, NUM_STAGES + 1):
        raise ValueError(f"frozen_stages={frozen_stages!r}: -1 for none, 0 for the stem, 1-4 for that many stages too")
    is_dict = isinstance(init_cfg, Mapping)
    if init_cfg is not None and (not is_dict or init_cfg.get("type") != "Pretrained" or not init_cfg.get("checkpoint")):
        raise ValueError(
            f"init_cfg={init_cfg!r}: this backbone initialises itself; give None, or dict(type='Pretrained', "
            f"checkpoint=...) with a file, a URL or a tag such as {example!r}"
        )


def check_channels(model: nn.Module) -> None:
    """Holds the widths of a model's backbone against those that its neck, or else its heads, were built for.

    Raises:
        ValueError: they differ; both lists are in the message.
    """
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, DenseBackbone):
        return
    parts = {name: getattr(model, name, None) for name in _CONSUMERS}
    wanted_by = {name: part for name, part in parts.items() if part is not None}
    for name, part in list(wanted_by.items())[: 1 if "neck" in wanted_by else None]:
        wanted = getattr(part, "in_channels", None)
        index = getattr(part, "in_index", range(len(backbone.channels)))
        if isinstance(wanted, int) and isinstance(index, int):
            wanted, index = [wanted], [index]
        if not isinstance(wanted, list | tuple):  # no record kept, or of the maps' sum
            continue
        given = [backbone.channels[i] for i in index]
        if given != list(wanted):
            raise ValueError(
                f"model.{name}.in_channels is {list(wanted)}, but the backbone's maps have {given} channels. Make "
                "them equal"
            )
