"""The MaxViT backbone of OpenMMLab: a thin wrapper over the network that timm knows."""

from collections.abc import Sequence
from typing import Any

import timm
from mmengine.logging import MMLogger
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ..maxvit import parse_window_size
from ..variants import CONFIGS, find_published
from .backbone_weights import load_backbone, read_weights

_PREFIX = "maxvit_"
ARCHS = tuple(name.removeprefix(_PREFIX) for name in CONFIGS)
NUM_STAGES = 4


@MODELS.register_module()
class MaxViT(BaseModule):
    """Maps at strides 4, 8, 16 and 32 of images of any size.

    Args:
        arch: size: t, s, b, l, xl of the paper, or mini (ours, for demos and tests). "t.tv_in1k" is torchvision's
            network, whose weights need its padding and activation; naming that tag in ``init_cfg`` is enough.
        out_indices: which stages to return, 0-3 for strides 4, 8, 16, 32. Stages behind the last one are not built.
        window_size: attention window in tokens: positive int, (height, width), or "ratio" for 1/32 of the image.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        frozen_stages: -1 for none, 0 for the stem, 1-4 for the stem and that many stages: no gradients, and in
            evaluation mode.
        norm_eval: keep all BatchNorm layers in evaluation mode while training.
        with_cp: recompute each block in the backward pass, which saves memory and costs about a third more time.
        in_channels: image channels.
        img_size: image size in pixels that the bias tables are made for, as in timm; by default that of the weights
            if ``init_cfg`` names published ones, else 224. It limits nothing.
        init_cfg: None, or dict(type="Pretrained", checkpoint=...) with a local file, a URL or a tag of published
            weights ("in1k", "maxvit_t.in1k_384"). ``missing_ok=True`` in it goes on with random weights, and a
            warning, if the hub cannot be reached.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        arch: str = "t",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        window_size: int | tuple[int, int] | str = 7,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        in_channels: int = 3,
        img_size: int | tuple[int, int] | None = None,
        init_cfg: dict[str, Any] | None = None,
    ):
        super().__init__(init_cfg)
        _check_arguments(arch, out_indices, frozen_stages, init_cfg)
        parse_window_size(window_size)
        size, _, tag = arch.partition(".")
        self.variant = _PREFIX + size
        self.out_indices = tuple(out_indices)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        published = find_published(self.variant, init_cfg["checkpoint"]) if init_cfg else None
        if img_size is None:
            img_size = published.input_size[-1] if published else 224
        tag = tag or (published.tag if published else "")
        self.net = timm.create_model(
            f"{self.variant}.{tag}" if tag else self.variant,
            img_size=img_size,
            window_size=window_size,
            in_chans=in_channels,
            num_classes=0,
            drop_path_rate=drop_path_rate,
        )
        self.net.prune_intermediate_layers([i + 1 for i in self.out_indices])  # the network counts the stem as 0
        self.net.set_grad_checkpointing(with_cp)
        self._freeze()

    def init_weights(self) -> None:
        """Loads what ``init_cfg`` names; without it the weights stay as the network initialised itself."""
        if self.init_cfg and not self.is_init:
            logger = MMLogger.get_current_instance()
            weights = read_weights(self.variant, self.init_cfg, logger)
            if weights is not None:
                load_backbone(self.net, weights, self.init_cfg["checkpoint"], logger)
        self.is_init = True

    def layer_ids(self) -> dict[str, int]:
        """Depth of each parameter for layer-wise learning rates: 0 for the stem, then one more for each block."""
        layers = group_parameters(self.net, self.net.group_matcher(), reverse=True)
        return {f"net.{name}": depth for name, depth in layers.items()}

    def _frozen_parts(self) -> list[nn.Module]:
        if self.frozen_stages < 0:
            return []
        return [self.net.stem, *self.net.stages[: self.frozen_stages]]

    def _freeze(self) -> None:
        for part in self._frozen_parts():
            part.requires_grad_(False)

    def train(self, mode: bool = True) -> "MaxViT":
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _NormBase):  # SyncBatchNorm too
                    module.eval()
        return self

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> one (B, C, ceil(H / stride), ceil(W / stride)) for each of ``out_indices``."""
        maps = self.net.forward_intermediates(x, intermediates_only=True)
        return tuple(maps[i + 1] for i in self.out_indices)


def _check_arguments(arch: str, out_indices: Sequence[int], frozen_stages: int, init_cfg: Any) -> None:
    if arch.partition(".")[0] not in ARCHS:
        raise ValueError(f"arch={arch!r}: MaxViT comes in the sizes {', '.join(ARCHS)}")
    if not out_indices or any(i not in range(NUM_STAGES) for i in out_indices):
        raise ValueError(f"out_indices={out_indices!r}: give some of 0, 1, 2, 3 (strides 4, 8, 16, 32)")
    if frozen_stages not in range(-1, NUM_STAGES + 1):
        raise ValueError(f"frozen_stages={frozen_stages!r}: -1 for none, 0 for the stem, 1-4 for that many stages too")
    if init_cfg is not None and (init_cfg.get("type") != "Pretrained" or not init_cfg.get("checkpoint")):
        raise ValueError(
            f"init_cfg={init_cfg!r}: MaxViT initialises itself; give None, or dict(type='Pretrained', checkpoint=...) "
            "with a file, a URL or a tag such as 'in1k'"
        )
