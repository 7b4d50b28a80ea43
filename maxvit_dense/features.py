"""The network that ``timm.create_model(..., features_only=True)`` gives: the maps asked for, and timm's interface."""

from collections.abc import Sequence

import torch
from timm.models._features import FeatureGetterNet
from torch import Tensor, nn

from .weights.fit import checkpoint_filter_fn

_PREFIX = "model."
_STAGES = 4


class MaxViTFeatures(FeatureGetterNet):
    """timm's feature network around a :class:`.maxvit.MaxViT`, kept as ``model`` and cut to what its maps need.

    (B, in_chans, H, W) to a list of maps (B, C, ceil(H / 2^k), ceil(W / 2^k)). What timm's own wrapper lacks is passed
    on, with names as this network has them. A classifier's or a bare backbone's weights load as its own do.
    """

    def __init__(self, model: nn.Module, **kwargs):
        super().__init__(model, **kwargs)
        self.indices = list(self.out_indices)
        self.names = self.feature_info.module_name()
        self.register_load_state_dict_pre_hook(_accept_bare_weights)

    def forward(self, x: Tensor, sizes: list[tuple[int, int]] | None = None) -> list[Tensor]:
        """Maps of images (B, in_chans, H, W); for ``sizes`` see :meth:`.maxvit.MaxViT.forward`."""
        return self.model.forward_maps(x, self.indices, len(self.model.stages), sizes)[1]

    @torch.jit.ignore
    def set_input_size(self, img_size=None, window_size=None) -> None:
        """See :meth:`.maxvit.MaxViT.set_input_size`."""
        self.model.set_input_size(img_size, window_size)

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool | str = True, stages: Sequence[int] | None = None) -> None:
        """See :meth:`.maxvit.MaxViT.set_grad_checkpointing`."""
        self.model.set_grad_checkpointing(enable, stages)

    @torch.jit.ignore
    def no_weight_decay(self) -> set[str]:
        """Names of the bias tables."""
        return {_PREFIX + name for name in self.model.no_weight_decay()}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """See :meth:`.maxvit.MaxViT.group_matcher`."""
        groups = self.model.group_matcher(coarse)
        blocks = [(pattern.replace("^", r"^model\."), order) for pattern, order in groups["blocks"]]
        return dict(stem=groups["stem"].replace("^", r"^model\."), blocks=blocks)


class MaxViTFeatureDict(MaxViTFeatures):
    """The same maps by the names of their modules: ``stem``, ``stages.0``, ..."""

    def forward(self, x: Tensor, sizes: list[tuple[int, int]] | None = None) -> dict[str, Tensor]:
        maps = self.model.forward_maps(x, self.indices, len(self.model.stages), sizes)[1]
        named: dict[str, Tensor] = {}
        for name, feature_map in zip(self.names, maps):  # noqa: B905 (TorchScript knows no strict)
            named[name] = feature_map
        return named


FEATURE_CLASSES = dict(getter=MaxViTFeatures, list=MaxViTFeatures, dict=MaxViTFeatureDict)


def _accept_bare_weights(module: nn.Module, state_dict: dict[str, Tensor], prefix: str, *_) -> None:
    """Lets weights without ``model.`` before their names load; the head's and cut stages' are left out.

    Raises:
        ValueError: they are of another network.
    """
    if any(key.startswith(prefix + _PREFIX) for key in state_dict):
        return
    bare = {key[len(prefix) :]: state_dict.pop(key) for key in list(state_dict) if key.startswith(prefix)}
    cut = ("head.", "norm.", *(f"stages.{i}." for i in range(len(module.model.stages), _STAGES)))
    bare = {key: value for key, value in bare.items() if not key.startswith(cut)}
    for key, value in checkpoint_filter_fn(bare, module.model).items():
        state_dict[prefix + _PREFIX + key] = value
