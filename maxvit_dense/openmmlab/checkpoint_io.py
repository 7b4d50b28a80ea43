"""Whether a checkpoint fits a model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..errors import InputError, listed
from ..weights.mismatch import compare_weights
from ..weights.safe_load import extract_state_dict

_logger = logging.getLogger(__name__)


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
