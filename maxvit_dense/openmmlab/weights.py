"""Weights into models: where they come from, how they are fitted, whether a checkpoint is a model's."""

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from timm.models import adapt_input_conv
from torch import Tensor, nn

from ..errors import InputError, listed
from ..variants import CONFIGS, fetch_published, find_published
from ..weights.fit import TABLE_SUFFIX, check_same_size, resize_bias_tables
from ..weights.mismatch import compare_weights
from ..weights.safe_load import backbone_state_dict, download_checkpoint, extract_state_dict, read_checkpoint
from ..weights.torchvision_layout import own_layout

# What may stand before a parameter's name in timm's layout: this wrapper's attribute, timm's features_only wrapper's.
_WRAPPERS = ("net.", "model.")

_logger = logging.getLogger(__name__)


def read_weights(variant: str, init_cfg: Mapping[str, Any], logger: logging.Logger) -> dict[str, Tensor] | None:
    """Weights of a network by its timm name that an ``init_cfg`` names, as their file has them; as ``read_source``.

    Those that are published, by tag, of this package's networks alone.
    """
    published = find_published(variant, init_cfg["checkpoint"]) if variant in CONFIGS else None
    return read_source(init_cfg, partial(fetch_published, variant, published) if published else None, logger)


def read_source(
    init_cfg: Mapping[str, Any], fetch: Callable[[], dict[str, Tensor]] | None, logger: logging.Logger
) -> dict[str, Tensor] | None:
    """Weights that an ``init_cfg`` names: published ones, or those of a URL or file.

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


# Checkpoints of whole models.


def check_fit(model: nn.Module, checkpoint: Mapping[str, Any], name: str, exact: bool) -> None:
    """Make sure that a model gets all its weights from a checkpoint.

    Args:
        model: as the config builds it; its weights are overwritten.
        checkpoint: what ``read_checkpoint`` returned.
        name: the checkpoint's, for messages.
        exact: refuse weights that the model does not know, too; else they are logged.

    Raises:
        InputError: weights are missing or have another shape; or any is unknown, if ``exact``.
    """
    mismatch = compare_weights(model, extract_state_dict(checkpoint))
    if mismatch.missing or mismatch.reshaped or (exact and mismatch):
        raise InputError(
            f"{name} is a checkpoint of another model than the config's: {mismatch}. Give the config that it "
            "was trained with (a Runner leaves it in the work dir), or another checkpoint."
        )
    if mismatch:
        _logger.warning("%s: left out: %s.", name, mismatch)


def check_optimizer(state: Mapping[str, Any], model: nn.Module, groups: Sequence[Mapping], name: str) -> None:
    """Make sure that an optimizer's state is of a model's parameters, in the groups that the config makes of them.

    Args:
        state: of ``OptimWrapper.state_dict``.
        model: as the config builds it.
        groups: the optimizer's, as the config builds it.
        name: the checkpoint's, for messages.

    Raises:
        InputError: the state is of another number of parameters, of parameters of other sizes, or in other groups.
    """
    own = Counter(tuple(p.shape) for p in model.parameters())
    # A parameter without gradient has no moments, and SGD has none of AdamW's.
    theirs = Counter(tuple(value["exp_avg"].shape) for value in state["state"].values() if "exp_avg" in value)
    count = sum(len(group["params"]) for group in state["param_groups"])
    if count != own.total() or theirs - own:
        foreign = listed(list(shape) for shape in theirs - own) or "none"
        raise InputError(
            f"{name} has the optimizer state of another model: of {count} parameters, and the config's model has "
            f"{own.total()} (shapes that this lacks: {foreign}). To start anew from its weights, leave --resume out "
            "and give --cfg-options load_from=FILE."
        )
    sizes, found = ([len(group["params"]) for group in kind] for kind in (groups, state["param_groups"]))
    if sizes != found:
        raise InputError(
            f"{name} has its optimizer's parameters in {len(found)} groups, the config makes {len(sizes)} of them: its "
            "settings differ, or the run is of a version before 0.1.0 that made one for each parameter. To start anew "
            "from its weights, leave --resume out and give --cfg-options load_from=FILE."
        )
