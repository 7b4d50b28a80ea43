"""Whether a checkpoint fits a model."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError, listed
from ..weights.safe_load import extract_state_dict

_logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Mismatch:
    """How a checkpoint's weights differ from what a model expects.

    Attributes:
        missing: names that the model has and the checkpoint has not.
        unexpected: names that the checkpoint has and the model has not.
        reshaped: "name: shape in the checkpoint, not shape in the model", sizes as lists.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    reshaped: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.missing or self.unexpected or self.reshaped)

    def __str__(self) -> str:
        kinds = (
            (self.reshaped, "tensors of another shape"),
            (self.missing, "missing from the checkpoint"),
            (self.unexpected, "unknown to the model"),
        )
        return "; ".join(f"{len(names)} {what} ({listed(names)})" for names, what in kinds if names)


def compare_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Mismatch:
    """Load ``weights`` into ``model`` as far as they fit, and tell what does not."""
    own, renamed = model.state_dict(), {}
    # Runs after the model's own hooks, which may rename: what it sees is what does not fit.
    hook = model.register_load_state_dict_pre_hook(lambda module, found, *_: renamed.update(found))
    try:
        loaded = model.load_state_dict(weights, strict=False)
        missing, unexpected, reshaped = loaded.missing_keys, loaded.unexpected_keys, []
    except RuntimeError:  # shapes differ
        weights = renamed
        missing = [key for key in own if key not in weights]
        unexpected = [key for key in weights if key not in own]
        common = [key for key in own if key in weights and own[key].shape != weights[key].shape]
        reshaped = [f"{key}: {list(weights[key].shape)}, not {list(own[key].shape)}" for key in common]
    finally:
        hook.remove()
    # Counters that older checkpoints lack; BatchNorm only reads them when it has no momentum.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    return Mismatch(tuple(missing), tuple(unexpected), tuple(reshaped))


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
        foreign = listed(map(list, theirs - own)) or "none"
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
