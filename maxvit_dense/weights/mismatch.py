"""What of some weights does not fit a model: the one report of every strict loader."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import listed


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


def compare_shapes(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> Mismatch:
    """What of ``weights`` the tensors of a model, ``own``, do not have, and the other way round; nothing is loaded."""
    common = [key for key in own if key in weights and own[key].shape != weights[key].shape]
    return Mismatch(
        missing=tuple(key for key in own if key not in weights),
        unexpected=tuple(key for key in weights if key not in own),
        reshaped=tuple(f"{key}: {list(weights[key].shape)}, not {list(own[key].shape)}" for key in common),
    )


def compare_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Mismatch:
    """Load ``weights`` into ``model`` as far as they fit, and tell what does not."""
    own, renamed = model.state_dict(), {}
    # Runs after the model's own hooks, which may rename: what it sees is what does not fit.
    hook = model.register_load_state_dict_pre_hook(lambda module, found, *_: renamed.update(found))
    try:
        loaded = model.load_state_dict(weights, strict=False)
        missing, unexpected, reshaped = loaded.missing_keys, loaded.unexpected_keys, []
    except RuntimeError:  # shapes differ
        found = compare_shapes(own, renamed)
        missing, unexpected, reshaped = found.missing, found.unexpected, found.reshaped
    finally:
        hook.remove()
    # Counters that older checkpoints lack; BatchNorm only reads them when it has no momentum.
    missing = [key for key in missing if not key.endswith("num_batches_tracked")]
    return Mismatch(tuple(missing), tuple(unexpected), tuple(reshaped))
