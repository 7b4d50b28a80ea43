"""Fits published and foreign MaxViT weights to a network of this package."""

from torch import Tensor, nn

from ..errors import listed
from .torchvision_layout import own_layout

TABLE_SUFFIX = "relative_position_bias_table"
_LAST_LAYERS = ("conv.conv3_1x1", "conv3_1x1", "attn.proj")  # of a block of MaxViT, of CoAtNet's two kinds
_BODY = ("stem.", "stages.", "norm.")


def resize_bias_tables(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Resizes each bias table to the model's own size, by the bilinear rule; other entries pass unchanged."""
    own = model.state_dict()
    fitted = {}
    for name, value in state_dict.items():
        if name.endswith(TABLE_SUFFIX) and name in own and value.dim() == own[name].dim():
            value = model.get_submodule(name.removesuffix(f".{TABLE_SUFFIX}")).fitted(value)
        fitted[name] = value
    return fitted


def describe_widths(state_dict: dict[str, Tensor]) -> str:
    """Stage widths of a checkpoint in timm's layout, for messages: "64, 128, 256, 512"."""
    widths = []
    for stage in range(4):
        names = [f"stages.{stage}.blocks.0.{layer}.weight" for layer in _LAST_LAYERS]
        widths += [str(len(state_dict[name])) for name in names if name in state_dict]
    return ", ".join(widths) or "none found"


def check_same_size(state_dict: dict[str, Tensor], model: nn.Module) -> None:
    """Says in one message why weights do not fit, rather than listing every tensor.

    The classifier and the first convolution are left out: timm adapts both to ``num_classes`` and ``in_chans``.

    Raises:
        ValueError: keys that hold other shapes than the model's, or none that the model knows.
    """
    own = model.state_dict()
    common = [k for k in state_dict if k in own and not k.startswith(("head.fc.", "stem.conv1."))]
    wrong = [k for k in common if state_dict[k].shape != own[k].shape]
    absent = [k for k in own if k not in state_dict and k.startswith(_BODY)]
    foreign = [k for k in state_dict if k not in own and k.startswith(_BODY)]
    if common and not (wrong or absent or foreign):
        return
    examples = [f"{k}: {list(state_dict[k].shape)}, not {list(own[k].shape)}" for k in wrong]
    raise ValueError(
        f"this checkpoint is not of this network: its stage widths are {describe_widths(state_dict)}, the network's "
        f"{describe_widths(own)}; {len(common) - len(wrong)} tensors fit, {len(wrong)} have another shape, "
        f"{len(absent)} are missing and {len(foreign)} unknown. Create the size that the checkpoint is of"
        + (f" ({listed(examples)})" if examples else "")
    )


def checkpoint_filter_fn(state_dict: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Prepares weights for ``load_state_dict``: renames torchvision's, checks the size, resizes bias tables.

    Called by timm for ``pretrained=True`` and for local files.
    """
    state_dict = resize_bias_tables(own_layout(state_dict, model), model)
    check_same_size(state_dict, model)
    return state_dict
