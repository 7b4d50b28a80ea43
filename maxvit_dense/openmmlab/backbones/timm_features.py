"""Any hierarchical network of timm as a backbone of OpenMMLab: MaxViT's peers on the same recipes.

In a config: ``backbone=dict(_delete_=True, type="TimmFeatures", model_name="convnext_tiny.fb_in1k")``.
"""

import difflib
import logging
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import timm
import torch
from mmengine.registry import MODELS
from timm.layers import LayerNorm2d, resize_rel_pos_bias_table, to_2tuple
from timm.models import PretrainedCfg, load_state_dict_from_hf
from torch import Tensor, nn
from torch.nn import functional as F

from ...errors import InputError
from ...weights.fit import TABLE_SUFFIX
from ...weights.mismatch import compare_weights
from ...weights.safe_load import backbone_state_dict, download_checkpoint, read_checkpoint
from ..weights import load_backbone, plain_names, read_source
from .dense import NUM_STAGES, DenseBackbone, check_arguments
from .gcvit import GlobalContextVit, free_size

_STRIDES = tuple(4 * 2**i for i in range(NUM_STAGES))


@MODELS.register_module()
class TimmFeatures(DenseBackbone):
    """Maps at strides 4, 8, 16 and 32, those of timm's ``features_only`` networks, for images of any size.

    Images are extended with zeros, the colour of the mean, at the bottom and right: to a multiple of the largest
    stride, or to ``img_size`` where the network has a fixed size. Maps are cut back to the image, to
    ceil(size / stride). An image of fitting size gives exactly timm's maps.

    Args:
        model_name: timm's name of the network, with or without a tag: "convnext_tiny.fb_in1k". The tag tells the
            architecture's settings; weights come from ``init_cfg`` alone.
        out_indices: which maps to return, 0-3 for strides 4, 8, 16, 32, whatever index timm gives them. What lies
            behind the last one is not built.
        img_size: size in pixels of a network that has a fixed one, multiple of the largest stride: int or (height,
            width); by default that of its ImageNet weights. Smaller images are extended to it, larger ones refused.
            GC ViT takes any size, and this tells the windows, of ``img_size / window_ratio`` tokens.
        out_norm: normalise the channels of each map by a LayerNorm, as the published detectors of Swin, ConvNeXt and
            GC ViT do.
        drop_path_rate: stochastic depth of the last block; None for the network's default.
        frozen_stages: -1 for none, 0 for the stem, 1-4 for the stem and that many stages: no gradients, and in
            evaluation mode.
        norm_eval: keep all BatchNorm layers in evaluation mode while training.
        with_cp: recompute each block in the backward pass, where the network offers it.
        in_channels: image channels.
        init_cfg: None, or dict(type="Pretrained", checkpoint=...) with a local file, a URL or a tag of the network's
            published weights ("fb_in1k", "convnext_tiny.fb_in1k"). ``missing_ok=True`` in it goes on with random
            weights, and a warning, if they cannot be reached.
        kwargs: passed on to ``timm.create_model``.

    Raises:
        ValueError: an argument out of its range; timm has no such network or tag; it has no map at a stride.
    """

    def __init__(
        self,
        model_name: str,
        out_indices: Sequence[int] = (0, 1, 2, 3),
        img_size: int | tuple[int, int] | None = None,
        out_norm: bool = False,
        drop_path_rate: float | None = None,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool = False,
        in_channels: int = 3,
        init_cfg: dict[str, Any] | None = None,
        **kwargs: Any,
    ):
        super().__init__(init_cfg)
        check_arguments(out_indices, frozen_stages, init_cfg, "in1k", norm_eval=norm_eval)
        self.model_name = model_name
        self.out_indices = tuple(int(i) for i in out_indices)  # numpy's integers too
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

        cfg = _find_cfg(model_name)
        is_free = kwargs.get("dynamic_img_size") or not kwargs.get("strict_img_size", True)
        self.img_size = None
        if cfg.fixed_input_size and not is_free:
            self.img_size = self._check_img_size(cfg.input_size[-2:] if img_size is None else img_size)
            kwargs["img_size"] = self.img_size
        elif img_size is not None:
            raise ValueError(f"img_size={img_size!r}: {model_name} takes images of any size here, leave it out")

        self._create = partial(
            timm.create_model,
            model_name,
            num_classes=0,
            in_chans=in_channels,
            drop_path_rate=drop_path_rate,
            **kwargs,
        )
        self.net = self._create()
        if isinstance(self.net, GlobalContextVit):
            free_size(self.net)
            self.img_size = None
        self.taps = tuple(self._find_tap(_STRIDES[i]) for i in self.out_indices)
        self.net.prune_intermediate_layers(sorted(set(self.taps)), prune_norm=True)
        self.norms = nn.ModuleList(LayerNorm2d(width) for width in self.channels) if out_norm else None
        if with_cp:
            self.net.set_grad_checkpointing(True)
        self.freeze()

    def _check_img_size(self, img_size: int | Sequence[int]) -> tuple[int, int]:
        stride = max(_STRIDES[i] for i in self.out_indices)
        height, width = to_2tuple(img_size)
        if height < 1 or width < 1 or height % stride or width % stride:
            raise ValueError(f"img_size={img_size!r}: give multiples of {stride}, the largest stride of the maps")
        return height, width

    def _find_tap(self, stride: int) -> int:
        """timm's index of the last map at a stride."""
        reductions = [info["reduction"] for info in self.net.feature_info]
        if stride not in reductions:
            raise ValueError(
                f"{self.model_name} has no map at stride {stride}: its maps are at {sorted(set(reductions))}. Choose "
                f"other out_indices (0-3 are strides 4, 8, 16, 32) or a network with stages"
            )
        return max(i for i, reduction in enumerate(reductions) if reduction == stride)

    def read_weights(self, logger: logging.Logger) -> dict[str, Tensor] | None:
        published = _find_published(self.model_name, self.init_cfg["checkpoint"])
        return read_source(self.init_cfg, partial(_fetch, published) if published else None, logger)

    def load_weights(self, weights: Mapping[str, Tensor], logger: logging.Logger) -> None:
        weights = plain_names(weights)
        with torch.device("meta"):  # with all stages, since authors may spread a stage over timm's next one
            whole = self._create()
        if not whole.state_dict().keys() <= weights.keys():
            weights = _rename(weights, whole)
        source = self.init_cfg["checkpoint"]
        load_backbone(self.net, weights, source, logger, self.model_name, _resize_tables, _check_complete)

    def layer_ids(self) -> dict[str, int]:
        depths = super().layer_ids()
        last = max(depths.values())
        return depths | {name: last for name, _ in self.named_parameters() if name not in depths}

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> one (B, C, ceil(H / stride), ceil(W / stride)) for each of ``out_indices``.

        Raises:
            ValueError: the network has a fixed size and the images are larger.
        """
        height, width = x.shape[-2:]
        maps = []
        for i, found in zip(self.out_indices, super().forward(self._extend(x)), strict=True):
            maps.append(found[..., : -(-height // _STRIDES[i]), : -(-width // _STRIDES[i])])
        if self.norms is not None:
            maps = [norm(found) for norm, found in zip(self.norms, maps, strict=True)]
        return tuple(maps)

    def _extend(self, x: Tensor) -> Tensor:
        """Adds zeros at the bottom and right, up to a size that the network takes."""
        height, width = x.shape[-2:]
        stride = max(_STRIDES[i] for i in self.out_indices)
        full_height, full_width = self.img_size or (-(-height // stride) * stride, -(-width // stride) * stride)
        if height > full_height or width > full_width:
            raise ValueError(
                f"{self.model_name} is built for images of up to {full_height} x {full_width} pixels (height x width), "
                f"these have {height} x {width}. Resize them in the config's pipelines, or set the backbone's img_size"
            )
        return F.pad(x, (0, full_width - width, 0, full_height - height))


def _find_cfg(model_name: str) -> PretrainedCfg:
    """timm's record of a network, of its default tag if the name has none."""
    if not timm.is_model(model_name):
        near = difflib.get_close_matches(model_name.partition(".")[0], timm.list_models(), n=3)
        raise ValueError(
            f"model_name={model_name!r}: timm {timm.__version__} has no such network"
            + (f"; near are {', '.join(near)}" if near else "")
            + ". timm.list_models() names all"
        )
    cfgs = timm.models.get_arch_pretrained_cfgs(model_name)
    if "." in model_name and model_name not in cfgs:
        raise ValueError(f"model_name={model_name!r}: the tags are {', '.join(cfgs) or 'none'}")
    return timm.get_pretrained_cfg(model_name) or PretrainedCfg()


def _find_published(model_name: str, source: str) -> PretrainedCfg | None:
    """Published weights of a network by tag ("fb_in1k") or name with tag; None for a file or URL, say."""
    for name, cfg in timm.models.get_arch_pretrained_cfgs(model_name).items():
        if cfg.has_weights and source in (name, name.partition(".")[2], cfg.hf_hub_id):
            return cfg
    return None


def _fetch(cfg: PretrainedCfg) -> dict[str, Tensor]:
    """Published weights, from the hub or, where timm keeps them elsewhere, their address.

    Raises:
        OSError: they are not in the cache and cannot be reached.
    """
    name = f"{cfg.architecture}.{cfg.tag} from {cfg.hf_hub_id or cfg.url}"
    remedy = "Without a network, download the file elsewhere and give it as init_cfg.checkpoint"
    try:
        if cfg.hf_hub_id:
            return load_state_dict_from_hf(cfg.hf_hub_id, weights_only=True)
        path = download_checkpoint(cfg.url)
    except (OSError, InputError) as error:
        raise OSError(f"could not fetch the weights {name} ({type(error).__name__}). {remedy}") from error
    return backbone_state_dict(read_checkpoint(path))


def _rename(weights: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Weights of a network's authors in timm's layout, by the filter that timm has beside the network, if any.

    Weights of another network are returned as they are, for a message that says what does not fit.
    """
    rename = getattr(sys.modules[type(net).__module__], "checkpoint_filter_fn", None)
    try:
        return rename(weights, net) if rename else weights
    except (AttributeError, KeyError, RuntimeError):  # timm's filters trust the names and shapes that they find
        return weights


def _resize_tables(weights: dict[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """Fits relative-position tables to other windows by timm's rule, not MaxViT's bilinear one."""
    own = net.state_dict()
    fitted = {}
    for name, value in weights.items():
        if name.endswith(TABLE_SUFFIX) and value.shape != own[name].shape:
            window = net.get_submodule(name.removesuffix(f".{TABLE_SUFFIX}")).window_size
            value = resize_rel_pos_bias_table(value, new_window_size=window, new_bias_shape=own[name].shape)
        fitted[name] = value
    return fitted


def _check_complete(weights: dict[str, Tensor], net: nn.Module) -> None:
    mismatch = compare_weights(net, weights)
    if mismatch:
        raise ValueError(f"this checkpoint is not of this network: {mismatch}. Create the network that it is of")
