"""Weights for the backbone: where they come from, how they are fitted, what the log says of it."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from timm.models import adapt_input_conv
from torch import Tensor, nn

from ...variants import fetch_published, find_published
from ...weights.fit import TABLE_SUFFIX, check_same_size, resize_bias_tables
from ...weights.safe_load import backbone_state_dict, download_checkpoint, read_checkpoint
from ...weights.torchvision_layout import own_layout

# What may stand before a parameter's name in timm's layout: this wrapper's attribute, timm's features_only wrapper's.
_WRAPPERS = ("net.", "model.")


def read_weights(variant: str, init_cfg: Mapping[str, Any], logger: logging.Logger) -> dict[str, Tensor] | None:
    """Weights of a MaxViT that an ``init_cfg`` names, as their file has them.

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
    published = find_published(variant, init_cfg["checkpoint"])
    return read_source(init_cfg, partial(fetch_published, variant, published) if published else None, logger)


def read_source(
    init_cfg: Mapping[str, Any], fetch: Callable[[], dict[str, Tensor]] | None, logger: logging.Logger
) -> dict[str, Tensor] | None:
    """Weights of a backbone that an ``init_cfg`` names: published ones, or those of a URL or file.

    Args:
        init_cfg: with ``checkpoint`` and ``missing_ok``.
        fetch: gets the published weights that ``checkpoint`` names; None if it names none.
        logger: gets the warning.

    Returns:
        Tensors by name; None if the hub was not reached and ``missing_ok`` allows that.

    Raises:
        OSError: the hub cannot be reached.
        ValueError: the file is missing or no checkpoint.
    """
    source = init_cfg["checkpoint"]
    if fetch is None:
        path = download_checkpoint(source) if "://" in source else source
        return backbone_state_dict(read_checkpoint(path))
    try:
        return fetch()
    except OSError as error:
        if not init_cfg.get("missing_ok", False):
            raise
        logger.warning(f"THE BACKBONE STARTS FROM RANDOM WEIGHTS: {error}")
        return None


def load_backbone(
    net: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    logger: logging.Logger,
    label: str = "MaxViT",
    resize: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] = resize_bias_tables,
    check: Callable[[dict[str, Tensor], nn.Module], None] = check_same_size,
) -> None:
    """Loads weights into a network without head, logging what was loaded, resized and left out.

    Args:
        net: network, perhaps with fewer stages than the weights.
        weights: tensors in timm's layout or torchvision's, perhaps with a head and under a wrapper's prefix.
        source: where they came from, for the log.
        logger: gets one line.
        label: the network's name, for the log.
        resize: fits bias tables to the network's windows.
        check: raises ValueError for weights of another network.

    Raises:
        ValueError: the weights are of another network.
    """
    own = net.state_dict()
    weights = own_layout(plain_names(weights), net)
    kept = {name: value for name, value in weights.items() if name in own}
    left_out = sorted({_part(name) for name in weights if name not in own})
    fitted = resize(kept, net)
    first_conv = f"{net.pretrained_cfg.get('first_conv')}.weight"
    if first_conv in fitted and fitted[first_conv].shape[1] != own[first_conv].shape[1]:
        fitted[first_conv] = adapt_input_conv(own[first_conv].shape[1], fitted[first_conv])
    check(fitted, net)
    net.load_state_dict(fitted, strict=True)

    resized = [name for name in fitted if fitted[name].shape != weights[name].shape and name.endswith(TABLE_SUFFIX)]
    notes = [f"loaded {len(fitted)} tensors from {source}"]
    if resized:
        before, after = weights[resized[0]].shape[-2:], fitted[resized[0]].shape[-2:]
        notes.append(f"resized {len(resized)} bias tables from {list(before)} to {list(after)}")
    notes.append(f"left out {', '.join(left_out) or 'nothing'}")
    logger.info(f"{label} backbone: {'; '.join(notes)}")


def plain_names(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, wrappers' prefixes taken off their names."""
    plain = {}
    for name, value in weights.items():
        for wrapper in _WRAPPERS:
            name = name.removeprefix(wrapper)
        plain[name] = value
    return plain


def _part(name: str) -> str:
    """Name of the part a parameter belongs to: "head", "stages.3"."""
    parts = name.split(".")
    return ".".join(parts[:2]) if parts[1:] and parts[1].isdigit() else parts[0]
