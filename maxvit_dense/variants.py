"""The networks under their names in timm. The only user of timm's registry and builder."""

import logging
from collections.abc import Callable, Iterable
from operator import index
from typing import Any

import timm
from timm.models import (
    PretrainedCfg,
    build_model_with_cfg,
    generate_default_cfgs,
    load_state_dict_from_hf,
    register_model,
)
from torch import Tensor, nn

from .arguments import parse_img_size
from .catalog import CONFIGS, TAG_CONFIGS, published_cfgs
from .coatnet import CoAtNet
from .coatnet_catalog import COATNET_CONFIGS
from .errors import InputError
from .features import FEATURE_CLASSES, MaxViTFeatures
from .maxvit import MaxViT
from .weights.fit import checkpoint_filter_fn
from .weights.safe_load import download_checkpoint, extract_state_dict, read_checkpoint

_logger = logging.getLogger(__name__)

_NUM_MAPS = 5  # stem and four stages

default_cfgs = generate_default_cfgs(published_cfgs())


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
        in_range = 1 <= given <= _NUM_MAPS if one else all(-_NUM_MAPS <= i < _NUM_MAPS for i in given)
        maps = [] if one else [i % _NUM_MAPS for i in given]
        valid = in_range and (one or (len(maps) > 0 and maps == sorted(set(maps))))
        valid = valid and not isinstance(out_indices, bool)
    except TypeError:  # no whole numbers
        valid = False
    if not valid:
        raise ValueError(
            f"out_indices={out_indices!r}: there are {_NUM_MAPS} maps, 0 for the stem (stride 2) and 1-4 for the "
            f"stages (strides 4-32); give some of them in ascending order, or the number of last maps"
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
        kwargs["out_indices"] = _check_out_indices(kwargs.get("out_indices", tuple(range(_NUM_MAPS))))
        kwargs["feature_cls"] = _feature_class(kwargs.get("feature_cls", "getter"))
    try:
        return build_model_with_cfg(
            CoAtNet if variant in COATNET_CONFIGS else MaxViT,
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


def _entry_point(name: str) -> Callable[..., nn.Module]:
    """What timm calls to make a network of one name."""

    def build(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        return _create_maxvit(name, pretrained, **kwargs)

    build.__name__ = build.__qualname__ = name
    cfg, tags = CONFIGS[name], [tag for tag in default_cfgs[name].cfgs if tag != "untrained"]
    build.__doc__ = (
        f"Stages of {', '.join(map(str, cfg.dims))} channels and {', '.join(map(str, cfg.depths))} blocks. "
        f"Published weights: {', '.join(tags) or 'none'}."
    )
    return build


for _name in CONFIGS:
    globals()[_name] = _register(_entry_point(_name))
