"""Weights for a whole network, head included: where they come from and how they are fitted."""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from ...variants import CONFIGS
from ...weights.fit import check_same_size, resize_bias_tables
from ...weights.mismatch import compare_weights
from ...weights.safe_load import backbone_state_dict, read_checkpoint
from ...weights.torchvision_layout import own_layout
from ..backbones.weights import plain_names, read_weights


def read_network_weights(variant: str, init_cfg: Mapping[str, Any], logger: logging.Logger) -> dict[str, Tensor] | None:
    """Weights that an ``init_cfg`` names; None if the hub was not reached and ``missing_ok`` allows that.

    Raises:
        OSError: the hub cannot be reached.
        ValueError: the file is missing or no checkpoint.
    """
    if variant in CONFIGS:
        return read_weights(variant, init_cfg, logger)
    return backbone_state_dict(read_checkpoint(init_cfg["checkpoint"]))


def network_layout(weights: Mapping[str, Tensor], net: nn.Module) -> dict[str, Tensor]:
    """The weights under timm's names, bias tables at the size of ``net``.

    Raises:
        InputError: torchvision's weights for another network.
    """
    return resize_bias_tables(own_layout(plain_names(weights), net), net)


def load_network(
    net: nn.Module, weights: Mapping[str, Tensor], init_cfg: Mapping[str, Any], logger: logging.Logger
) -> None:
    """Load weights into a timm network strictly, but for its classifier, and log what was done with that.

    Args:
        net: the network.
        weights: tensors by name, in timm's layout or a training run's.
        init_cfg: with ``checkpoint``, for messages, and ``head`` (by default True).
        logger: gets one line.

    Raises:
        ValueError: the weights are of another network.
    """
    own = net.state_dict()
    fitted = network_layout(weights, net)
    check_same_size(fitted, net)
    classifier = f"{net.pretrained_cfg['classifier']}." if net.pretrained_cfg else "head.fc."
    head = {name: value for name, value in own.items() if name.startswith(classifier)}
    theirs = {name: fitted[name] for name in head if name in fitted}
    note = "classifier included"
    if not init_cfg.get("head", True) or any(
        theirs.get(n) is None or theirs[n].shape != v.shape for n, v in head.items()
    ):
        classes = next((len(value) for value in theirs.values()), 0)
        note = f"its classifier of {classes} classes left out, the new one of {net.num_classes} starts anew"
        fitted |= head
    source = init_cfg["checkpoint"]
    if mismatch := compare_weights(net, fitted):
        raise ValueError(f"{source} is not of this network: {mismatch}. Create the network that it is of")
    logger.info(f"Loaded {len(fitted)} tensors from {source}: {note}")
