"""Weights for the backbone: where they come from, how they are fitted, what the log says of it."""

import logging
from collections.abc import Mapping
from typing import Any

from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..checkpoint import TABLE_SUFFIX, check_same_size, resize_bias_tables
from ..safe_load import backbone_state_dict, download_checkpoint, read_checkpoint
from ..torchvision_weights import from_torchvision, is_torchvision
from ..variants import fetch_published, find_published

# What may stand before a parameter's name in timm's layout: this wrapper's attribute, timm's features_only wrapper's.
_WRAPPERS = ("net.", "model.")
_FIRST_CONV = "stem.conv1.weight"


def read_weights(variant: str, init_cfg: Mapping[str, Any], logger: logging.Logger) -> dict[str, Tensor] | None:
    """Weights that an ``init_cfg`` names, in timm's layout.

    Args:
        variant: timm name of the network.
        init_cfg: with ``checkpoint``, a tag, URL or file, and ``missing_ok``.
        logger: gets the warning.

    Returns:
        Tensors by name; None if the hub was not reached and ``missing_ok`` allows that.

    Raises:
        OSError: the hub cannot be reached.
        ValueError: the file is missing or no checkpoint.
    """
    source = init_cfg["checkpoint"]
    published = find_published(variant, source)
    if published is None:
        path = download_checkpoint(source) if "://" in source else source
        return _own_layout(backbone_state_dict(read_checkpoint(path)))
    try:
        return _own_layout(fetch_published(variant, published))
    except OSError as error:
        if not init_cfg.get("missing_ok", False):
            raise
        logger.warning(f"THE BACKBONE STARTS FROM RANDOM WEIGHTS: {error}")
        return None


def load_backbone(net: nn.Module, weights: Mapping[str, Tensor], source: str, logger: logging.Logger) -> None:
    """Loads weights into a network without head, logging what was loaded, resized and left out.

    Args:
        net: network, perhaps with fewer stages than the weights.
        weights: tensors in timm's layout, perhaps with a head and under a wrapper's prefix.
        source: where they came from, for the log.
        logger: gets one line.

    Raises:
        ValueError: the weights are of another network.
    """
    own = net.state_dict()
    weights = {_plain_name(name): value for name, value in weights.items()}
    kept = {name: value for name, value in weights.items() if name in own}
    left_out = sorted({_part(name) for name in weights if name not in own})
    fitted = resize_bias_tables(kept, net)
    if _FIRST_CONV in fitted and fitted[_FIRST_CONV].shape[1] != own[_FIRST_CONV].shape[1]:
        fitted[_FIRST_CONV] = adapt_input_conv(own[_FIRST_CONV].shape[1], fitted[_FIRST_CONV])
    check_same_size(fitted, net)
    net.load_state_dict(fitted, strict=True)

    resized = [name for name in fitted if fitted[name].shape != weights[name].shape and name.endswith(TABLE_SUFFIX)]
    notes = [f"loaded {len(fitted)} tensors from {source}"]
    if resized:
        before, after = weights[resized[0]].shape[-2:], fitted[resized[0]].shape[-2:]
        notes.append(f"resized {len(resized)} bias tables from {list(before)} to {list(after)}")
    notes.append(f"left out {', '.join(left_out) or 'nothing'}")
    logger.info(f"MaxViT backbone: {'; '.join(notes)}")


def _own_layout(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return from_torchvision(weights) if is_torchvision(weights) else weights


def _plain_name(name: str) -> str:
    for wrapper in _WRAPPERS:
        name = name.removeprefix(wrapper)
    return name


def _part(name: str) -> str:
    """Name of the part a parameter belongs to: "head", "stages.3"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[0] == "stages" else parts[0]
