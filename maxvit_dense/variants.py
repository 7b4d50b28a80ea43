"""Sizes of MaxViT and their names in timm. The only user of timm's registry and builder."""

import logging
from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import timm
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    load_state_dict_from_hf,
    register_model,
)
from torch import Tensor, nn

from .errors import InputError
from .features import FEATURE_CLASSES, MaxViTFeatures
from .maxvit import MaxViT, MaxViTConfig, parse_img_size
from .weights.fit import checkpoint_filter_fn
from .weights.safe_load import download_checkpoint, extract_state_dict, read_checkpoint
from .weights.torchvision_layout import torchvision_config

_logger = logging.getLogger(__name__)

NUM_MAPS = 5  # stem and four stages

# Paper, table 1 and table 11 (XL); the stem is as wide as google-research/maxvit `models/hp/vision.py` has it.
CONFIGS: dict[str, MaxViTConfig] = {
    "maxvit_t": MaxViTConfig(stem_dim=64, dims=(64, 128, 256, 512), depths=(2, 2, 5, 2)),
    "maxvit_s": MaxViTConfig(stem_dim=64, dims=(96, 192, 384, 768), depths=(2, 2, 5, 2)),
    "maxvit_b": MaxViTConfig(stem_dim=64, dims=(96, 192, 384, 768), depths=(2, 6, 14, 2)),
    "maxvit_l": MaxViTConfig(stem_dim=128, dims=(128, 256, 512, 1024), depths=(2, 6, 14, 2)),
    "maxvit_xl": MaxViTConfig(stem_dim=192, dims=(192, 384, 768, 1536), depths=(2, 6, 14, 2)),
    # Ours, not the paper's: the same network small enough to train on two CPU cores (demo, tests).
    "maxvit_mini": MaxViTConfig(stem_dim=32, dims=(32, 64, 128, 256), depths=(1, 1, 2, 1)),
}

# Weights of another implementation, whose network differs in more than size.
TAG_CONFIGS = {"maxvit_t.tv_in1k": torchvision_config(CONFIGS["maxvit_t"])}

# Paper's size names as timm spells them in its checkpoints.
_TIMM_SIZES = dict(t="tiny", s="small", b="base", l="large", xl="xlarge")
_IN1K_SIZES = ("t", "s", "b", "l")
_IN21K_SIZES = ("b", "l", "xl")


def _cfg(img_size: int = 224, **kwargs: Any) -> dict[str, Any]:
    side = -(-img_size // 32)
    return (
        dict(
            num_classes=1000,
            input_size=(3, img_size, img_size),
            pool_size=(side, side),
            crop_pct=0.95,
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            first_conv="stem.conv1",
            classifier="head.fc",
            fixed_input_size=False,
            license="apache-2.0",
        )
        | kwargs
    )


def _published_cfgs() -> dict[str, dict[str, Any]]:
    """Every published checkpoint by our name and tag: timm's on the hub (timm `maxxvit.py`), and torchvision's.

    The 224-pixel ImageNet-1k weights use ImageNet's mean and std, all others 0.5; the 384 and 512 ones were trained on
    whole images squashed to a square (google-research/maxvit, paper table 12). torchvision evaluates at 224 pixels of
    an image whose short side is 224 (`MaxVit_T_Weights`).
    """
    squash = dict(crop_pct=1.0, crop_mode="squash")
    cfgs = {}
    for size in _IN1K_SIZES:
        hub = f"timm/maxvit_{_TIMM_SIZES[size]}_tf"
        cfgs[f"maxvit_{size}.in1k"] = _cfg(
            hf_hub_id=f"{hub}_224.in1k", mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD
        )
        for side in (384, 512):
            cfgs[f"maxvit_{size}.in1k_{side}"] = _cfg(side, hf_hub_id=f"{hub}_{side}.in1k", **squash)
    for size in _IN21K_SIZES:
        hub = f"timm/maxvit_{_TIMM_SIZES[size]}_tf"
        cfgs[f"maxvit_{size}.in21k"] = _cfg(hf_hub_id=f"{hub}_224.in21k", num_classes=21843)
        for side in (384, 512):
            cfgs[f"maxvit_{size}.in21k_ft_in1k_{side}"] = _cfg(side, hf_hub_id=f"{hub}_{side}.in21k_ft_in1k", **squash)
    cfgs["maxvit_t.tv_in1k"] = _cfg(
        url="https://download.pytorch.org/models/maxvit_t-bc5ab103.pth",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        crop_pct=1.0,
        license="bsd-3-clause",
    )
    cfgs["maxvit_mini.untrained"] = _cfg(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
    return {name: cfg | dict(tag=name.partition(".")[2]) for name, cfg in cfgs.items()}


default_cfgs = generate_default_cfgs(_published_cfgs())


def _pretrained_cfg(variant: str, requested: Any) -> Any:
    """The pretrained cfg that a tag or a cfg given by the user stands for.

    Raises:
        ValueError: a tag that the variant does not have.
    """
    if not isinstance(requested, str):
        return PretrainedCfg(**requested) if isinstance(requested, dict) else requested
    tags = default_cfgs[variant].cfgs
    if requested not in tags:
        raise ValueError(f"unknown tag {variant}.{requested}: {variant} has {', '.join(sorted(tags))}")
    return tags[requested]


def _tag(requested: Any) -> str | None:
    """The tag of what ``create_model`` was given: the tag itself, a cfg with one, or None for a bare name."""
    if isinstance(requested, dict):
        return requested.get("tag")
    return requested if requested is None or isinstance(requested, str) else requested.tag


def _check_out_indices(out_indices: Any) -> int | tuple[int, ...]:
    """The indices in Python's ints, numpy's and ranges too.

    Raises:
        ValueError: what timm would answer with a stray exception or, out of order, with channels of other maps.
    """
    try:
        one = not isinstance(out_indices, Iterable)
        given = index(out_indices) if one else tuple(map(index, out_indices))
        in_range = 1 <= given <= NUM_MAPS if one else all(-NUM_MAPS <= i < NUM_MAPS for i in given)
        maps = [] if one else [i % NUM_MAPS for i in given]
        valid = in_range and (one or (len(maps) > 0 and maps == sorted(set(maps))))
        valid = valid and not isinstance(out_indices, bool)
    except TypeError:  # no whole numbers
        valid = False
    if not valid:
        raise ValueError(
            f"out_indices={out_indices!r}: there are {NUM_MAPS} maps, 0 for the stem (stride 2) and 1-4 for the stages "
            f"(strides 4-32); give some of them in ascending order, or the number of last maps"
        )
    return given


def _feature_class(requested: Any) -> Any:
    """What timm shall wrap the network in: ours for "getter", "list" and "dict", else timm's or the user's own."""
    if not isinstance(requested, str) or requested in ("hook", "fx"):
        return requested
    if requested not in FEATURE_CLASSES:
        raise ValueError(f"feature_cls={requested!r}: give one of {', '.join((*FEATURE_CLASSES, 'hook', 'fx'))}")
    return FEATURE_CLASSES[requested]


def _create_maxvit(variant: str, pretrained: bool = False, pretrained_cfg: Any = None, **kwargs: Any) -> nn.Module:
    """Builds a network for timm's ``create_model``.

    A tag sets the bias tables, and so the window, to those it was trained with; a bare name takes 224's.
    """
    trained_with = _pretrained_cfg(variant, pretrained_cfg)
    if trained_with is not None:
        kwargs.setdefault("img_size", trained_with.input_size[-2:])
    elif not pretrained:  # the default tag of XL has 21,843 classes; without its weights there is no reason for them
        kwargs.setdefault("num_classes", 1000)
    if kwargs.get("img_size") is not None:
        kwargs["img_size"] = parse_img_size(kwargs["img_size"])  # timm takes no numbers of numpy's
    if kwargs.get("features_only"):
        kwargs["out_indices"] = _check_out_indices(kwargs.get("out_indices", tuple(range(NUM_MAPS))))
        kwargs["feature_cls"] = _feature_class(kwargs.get("feature_cls", "getter"))
    try:
        return build_model_with_cfg(
            MaxViT,
            variant,
            pretrained,
            pretrained_cfg=pretrained_cfg,
            model_cfg=TAG_CONFIGS.get(f"{variant}.{_tag(pretrained_cfg)}", CONFIGS[variant]),
            feature_cfg=dict(feature_cls=MaxViTFeatures),
            pretrained_filter_fn=checkpoint_filter_fn,
            **kwargs,
        )
    except OSError as error:  # what the hub's client raises without a network, offline or not
        overlay = kwargs.get("pretrained_cfg_overlay") or {}
        if overlay.get("file") or getattr(trained_with, "file", None):
            raise
        raise _unreachable(variant, trained_with or default_cfgs[variant].default, error) from error


def _unreachable(variant: str, cfg: PretrainedCfg, error: Exception) -> OSError:
    source, file = (cfg.hf_hub_id, "model.safetensors") if cfg.hf_hub_id else (cfg.url, cfg.url.rsplit("/", 1)[-1])
    what = f"{file} of that repository" if cfg.hf_hub_id else "it"
    name = variant if f"{variant}.{cfg.tag}" not in TAG_CONFIGS else f"{variant}.{cfg.tag}"
    return OSError(
        f"could not fetch the weights {source} ({type(error).__name__}). Without a network, download {what} elsewhere "
        f"and pass the file: timm.create_model({name!r}, pretrained=True, "
        f'pretrained_cfg_overlay=dict(file="{file}")), or in an OpenMMLab config '
        f'init_cfg=dict(type="Pretrained", checkpoint="{file}")'
    )


def find_published(variant: str, name: str) -> PretrainedCfg | None:
    """Published weights by tag ("in1k"), our name ("maxvit_t.in1k") or timm's ("maxvit_tiny_tf_224.in1k").

    Returns None for any other name, a file or a URL say.
    """
    for tag, cfg in default_cfgs[variant].cfgs.items():
        names = [tag, f"{variant}.{tag}"]
        if cfg.hf_hub_id:
            names += [cfg.hf_hub_id, cfg.hf_hub_id.removeprefix("timm/")]
        if (cfg.hf_hub_id or cfg.url) and name in names:
            return cfg
    return None


def fetch_published(variant: str, cfg: PretrainedCfg) -> dict[str, Tensor]:
    """Published weights as their file has them, from the hub or torchvision's server, or from the local cache.

    Raises:
        OSError: they are not in the cache and cannot be reached; says how to pass a local file.
    """
    try:
        if cfg.hf_hub_id:
            return load_state_dict_from_hf(cfg.hf_hub_id, weights_only=True)
        path = download_checkpoint(cfg.url)
    except (OSError, InputError) as error:
        raise _unreachable(variant, cfg, error) from error
    return extract_state_dict(read_checkpoint(path))


def _register(entrypoint: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    """Registers an entry point with timm, unless timm has come to own the name."""
    if timm.is_model(entrypoint.__name__):
        _logger.warning("timm already has a model %s: kept, ours is not registered", entrypoint.__name__)
        return entrypoint
    return register_model(entrypoint)


@_register
def maxvit_t(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MaxViT-T: 30.9M parameters, 5.6 GMACs at 224 (paper, table 1)."""
    return _create_maxvit("maxvit_t", pretrained, **kwargs)


@_register
def maxvit_s(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MaxViT-S: 68.9M parameters, 11.7 GMACs at 224 (paper, table 1)."""
    return _create_maxvit("maxvit_s", pretrained, **kwargs)


@_register
def maxvit_b(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MaxViT-B: 119.5M parameters, 24.0 GMACs at 224 (paper, table 1)."""
    return _create_maxvit("maxvit_b", pretrained, **kwargs)


@_register
def maxvit_l(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MaxViT-L: 211.8M parameters, 43.7 GMACs at 224 (paper, table 1)."""
    return _create_maxvit("maxvit_l", pretrained, **kwargs)


@_register
def maxvit_xl(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """MaxViT-XL: about 475M parameters (paper, table 11)."""
    return _create_maxvit("maxvit_xl", pretrained, **kwargs)


@_register
def maxvit_mini(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Ours, not the paper's: the same network at a size that trains on two CPU cores. No published weights."""
    return _create_maxvit("maxvit_mini", pretrained, **kwargs)
