"""torchvision's ``maxvit_t`` weights in this package's layout (pytorch/vision ``torchvision/models/maxvit.py``)."""

import re
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..styles import HEAD_DIM, TORCHVISION_ATTENTION, TORCHVISION_CONV, MaxViTConfig

_MARK = "blocks.0.layers.0.layers.MBconv.layers.conv_a.0.weight"
_STEM_BIAS, _SHORTCUT = "stem.conv1.bias", "stages.0.blocks.0.conv.shortcut.expand.weight"  # in this package's layout
_BLOCK = re.compile(r"blocks\.(\d+)\.layers\.(\d+)\.layers\.")
_ATTENTIONS = {"window_attention.": "attn_block.", "grid_attention.": "attn_grid."}
# By prefix; what follows it is the same in both layouts.
_OUTSIDE = {
    "stem.0.0.": "stem.conv1.",
    "stem.0.1.": "stem.norm1.",
    "stem.1.0.": "stem.conv2.",
    "classifier.2.": "head.norm.",
    "classifier.3.": "head.pre_logits.fc.",
    "classifier.5.": "head.fc.",
}
_CONV = {
    "MBconv.proj.1.": "conv.shortcut.expand.",
    "MBconv.layers.pre_norm.": "conv.pre_norm.",
    "MBconv.layers.conv_a.0.": "conv.conv1_1x1.",
    "MBconv.layers.conv_a.1.": "conv.norm1.",
    "MBconv.layers.conv_b.0.": "conv.conv2_kxk.",
    "MBconv.layers.conv_b.1.": "conv.norm2.",
    "MBconv.layers.squeeze_excitation.": "conv.se.",
    "MBconv.layers.conv_c.": "conv.conv3_1x1.",
}
_ATTENTION = {
    "attn_layer.0.": "norm1.",
    "attn_layer.1.to_qkv.": "attn.qkv.",
    "attn_layer.1.merge.": "attn.proj.",
    "attn_layer.1.relative_position_bias_table": "attn.rel_pos.relative_position_bias_table",
    "mlp_layer.0.": "norm2.",
    "mlp_layer.1.": "mlp.fc1.",
    "mlp_layer.3.": "mlp.fc2.",
}


def torchvision_config(cfg: MaxViTConfig) -> MaxViTConfig:
    """The network that torchvision trained, at the size of ``cfg``: its padding, pooling, biases and erf-GELU.

    Its other two differences, the scale of attention and the order of bias tables, are in the weights.
    """
    return replace(cfg, conv=TORCHVISION_CONV, attention=TORCHVISION_ATTENTION, head_bias=False)


def is_torchvision(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether weights are in torchvision's layout."""
    return _MARK in state_dict


def own_layout(state_dict: Mapping[str, Tensor], net: nn.Module | None = None) -> dict[str, Tensor]:
    """Weights of torchvision's layout in this package's; any others as they are.

    Args:
        state_dict: tensors by name.
        net: what they are for, if that is known.

    Raises:
        InputError: they are torchvision's, and ``net`` is the official network; a name that torchvision's has not.
    """
    weights = from_torchvision(state_dict) if is_torchvision(state_dict) else dict(state_dict)
    if net is not None and _STEM_BIAS in net.state_dict() and _is_torchvisions_network(weights):
        raise InputError(
            "these are torchvision's weights, of a network with other padding and activation. Create maxvit_t.tv_in1k "
            "for them: arch='t.tv_in1k' in a detector's config, model.network.model_name='maxvit_t.tv_in1k' in a "
            "classifier's"
        )
    return weights


def _is_torchvisions_network(weights: Mapping[str, Tensor]) -> bool:
    """Whether weights in this package's layout are torchvision's: alone it convolves a shortcut of equal widths."""
    shortcut = weights.get(_SHORTCUT)
    return _STEM_BIAS not in weights and shortcut is not None and shortcut.shape[0] == shortcut.shape[1]


def from_torchvision(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of torchvision's layout in this package's; tensors are shared where they stay as they are.

    torchvision scales scores by channels ** -0.5, this package by 32 ** -0.5: keys are multiplied by what lies between.
    Its tables are (entries, h) with the entry of query - key, here (h, rows, cols) with that of key - query.

    Raises:
        InputError: a name that torchvision's network does not have.
    """
    converted = {}
    for name, value in state_dict.items():
        if name.endswith("relative_position_index"):  # follows from the window
            continue
        own = _own_name(name)
        if own.endswith("bias_table"):
            value = _own_table(value)
        elif ".attn.qkv." in own:
            value = _own_scale(value)
        converted[own] = value
    return converted


def _own_name(name: str) -> str:
    block = _BLOCK.match(name)
    if not block:
        return _replaced(name, _OUTSIDE, name)
    prefix, rest = f"stages.{block[1]}.blocks.{block[2]}.", name[block.end() :]
    for theirs, ours in _ATTENTIONS.items():
        if rest.startswith(theirs):
            return prefix + ours + _replaced(rest.removeprefix(theirs), _ATTENTION, name)
    return prefix + _replaced(rest, _CONV, name)


def _replaced(rest: str, prefixes: dict[str, str], name: str) -> str:
    for theirs, ours in prefixes.items():
        if rest.startswith(theirs):
            return ours + rest.removeprefix(theirs)
    raise InputError(f"{name} is no weight of torchvision's maxvit_t, though others of this checkpoint are")


def _own_table(table: Tensor) -> Tensor:
    side = round(table.shape[0] ** 0.5)
    return table.view(side, side, -1).flip(0, 1).permute(2, 0, 1).contiguous()


def _own_scale(qkv: Tensor) -> Tensor:
    queries, keys, values = qkv.chunk(3)
    return torch.cat([queries, keys * (HEAD_DIM / keys.shape[0]) ** 0.5, values])
