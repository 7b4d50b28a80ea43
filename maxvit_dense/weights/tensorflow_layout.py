"""The official code's TensorFlow checkpoints (google-research/maxvit) in timm's layout.

Names and shapes are those that ``maxvit/models/maxvit.py`` gives its layers at commit
70a470723b810f9eb05b2aa935cf75db8290c69e: ``block_SS_BB/mbconv/depthwise_conv/depthwise_kernel``,
``block_SS_BB/attention_1/q/weight`` and so on. What stands before them depends on the scope that a training program
built the network in, which that source leaves open: any prefix is accepted. A moving average has its variable's name
with ``/ExponentialMovingAverage`` behind it (``eval_ckpt.py``).
"""

import re
import sys
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, listed

_AVERAGE = "/ExponentialMovingAverage"
# What optimizers of TensorFlow and Keras keep beside a variable, and what training programs keep beside the network.
_SLOTS = {"Adam", "Adam_1", "AdamW", "AdamW_1", "adam_m", "adam_v", "m", "v", "Momentum", "RMSProp", "RMSProp_1"}
_COUNTERS = re.compile(r"(?:.*/)?(?:global_step|beta[12]_power|iter|iterations|learning_rate|local_step)")
_BLOCK = re.compile(r"(?:.*/)?block_(\d\d)_(\d\d)/(.+)")
_UNREADABLE = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error)  # of a dump


def _same(value: np.ndarray) -> np.ndarray:
    return value


def _conv(kernel: np.ndarray) -> np.ndarray:
    """(kh, kw, in, out) to (out, in, kh, kw)."""
    return kernel.transpose(3, 2, 0, 1)


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """(kh, kw, C, 1) to (C, 1, kh, kw)."""
    return kernel.transpose(2, 3, 0, 1)


def _dense(weight: np.ndarray) -> np.ndarray:
    """(in, out) to (out, in)."""
    return weight.T


def _to_heads(weight: np.ndarray) -> np.ndarray:
    """(C, h, D) to (h * D, C)."""
    return weight.reshape(weight.shape[0], -1).T


def _from_heads(weight: np.ndarray) -> np.ndarray:
    """(h, D, C) to (C, h * D)."""
    return weight.reshape(-1, weight.shape[-1]).T


def _flat(bias: np.ndarray) -> np.ndarray:
    """(h, D) to (h * D,)."""
    return bias.reshape(-1)


# Variables of each kind of layer: its name here, how its axes change and how many it has.
_BIAS = {"bias": ("bias", _same, 1)}
_SCALE = {"gamma": ("weight", _same, 1), "beta": ("bias", _same, 1)}
_KINDS = {
    "conv": {"kernel": ("weight", _conv, 4)} | _BIAS,
    "depthwise": {"depthwise_kernel": ("weight", _depthwise, 4)},
    "dense": {"weight": ("weight", _dense, 2)} | _BIAS,
    "to heads": {"weight": ("weight", _to_heads, 3), "bias": ("bias", _flat, 2)},
    "from heads": {"weight": ("weight", _from_heads, 3)} | _BIAS,
    "layer norm": _SCALE,
    "batch norm": _SCALE | {"moving_mean": ("running_mean", _same, 1), "moving_variance": ("running_var", _same, 1)},
    "table": {"relative_bias": ("relative_position_bias_table", _same, 3)},
}


def _attention_layers(suffix: str, ours: str) -> dict[str, tuple[str, str]]:
    return {
        f"attn_layer_norm{suffix}": (f"{ours}.norm1", "layer norm"),
        f"attention{suffix}/q": (f"{ours}.attn.q", "to heads"),
        f"attention{suffix}/k": (f"{ours}.attn.k", "to heads"),
        f"attention{suffix}/v": (f"{ours}.attn.v", "to heads"),
        f"attention{suffix}/o": (f"{ours}.attn.proj", "from heads"),
        f"attention{suffix}": (f"{ours}.attn.rel_pos", "table"),
        f"ffn_layer_norm{suffix}": (f"{ours}.norm2", "layer norm"),
        f"ffn{suffix}/expand_dense": (f"{ours}.mlp.fc1", "dense"),
        f"ffn{suffix}/shrink_dense": (f"{ours}.mlp.fc2", "dense"),
    }


# Layers by their name there: name here, kind.
_BLOCK_LAYERS = {
    "mbconv/shortcut_conv": ("conv.shortcut.expand", "conv"),
    "mbconv/pre_norm": ("conv.pre_norm", "batch norm"),
    "mbconv/expand_conv": ("conv.conv1_1x1", "conv"),
    "mbconv/expand_norm": ("conv.norm1", "batch norm"),
    "mbconv/depthwise_conv": ("conv.conv2_kxk", "depthwise"),
    "mbconv/depthwise_norm": ("conv.norm2", "batch norm"),
    "mbconv/se/reduce_conv2d": ("conv.se.fc1", "conv"),
    "mbconv/se/expand_conv2d": ("conv.se.fc2", "conv"),
    "mbconv/shrink_conv": ("conv.conv3_1x1", "conv"),
    **_attention_layers("", "attn_block"),
    **_attention_layers("_1", "attn_grid"),
}
_OUTER_LAYERS = {
    "conv_0": ("stem.conv1", "conv"),
    "norm_0": ("stem.norm1", "batch norm"),
    "conv_1": ("stem.conv2", "conv"),
    "final_layer_norm": ("head.norm", "layer norm"),
    "inner_dense": ("head.pre_logits.fc", "dense"),
    "logit_dense": ("head.fc", "dense"),
}


class _CheckpointReader(Mapping):
    """TensorFlow's reader of a checkpoint, as a mapping from names to arrays that are read when asked for."""

    def __init__(self, reader):
        self._reader, self._names = reader, list(reader.get_variable_to_shape_map())

    def __getitem__(self, name: str) -> np.ndarray:
        return self._reader.get_tensor(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def is_tensorflow(path: Path) -> bool:
    """Whether a path names a TensorFlow checkpoint (prefix, index, folder) or a dump of its variables."""
    if path.is_dir():
        return (path / "checkpoint").is_file()
    return path.suffix in (".npz", ".index") or path.with_name(path.name + ".index").is_file()


def read_tensorflow(path: Path) -> Mapping[str, np.ndarray]:
    """Variables of a checkpoint through TensorFlow, or of an ``.npz`` dump without it; read when asked for.

    Raises:
        InputError: the file cannot be read; TensorFlow is not installed (says how to make a dump elsewhere).
    """
    if path.suffix == ".npz":
        try:
            dump = np.load(path, allow_pickle=False)
            if not isinstance(dump, Mapping):
                raise ValueError("it holds one array without a name")
            return dump
        except _UNREADABLE as error:
            raise InputError(f"{path} is no .npz dump of variables ({error}). Make it anew.") from error
    if "tensorflow" not in sys.modules and find_spec("tensorflow") is None:
        raise InputError(
            f"{path} is a TensorFlow checkpoint, and TensorFlow is not installed here. Where it is, run the two lines "
            "that `tools/convert_checkpoint.py --help` shows, and give the dump.npz that they write."
        )
    tensorflow = import_module("tensorflow")
    prefix = str(path).removesuffix(".index")
    try:
        return _CheckpointReader(tensorflow.train.load_checkpoint(prefix))
    except Exception as error:  # TensorFlow's errors have no type that can be named without it
        raise InputError(f"TensorFlow cannot read the checkpoint {prefix} ({error}). Check the path.") from error


def has_averages(variables: Mapping[str, np.ndarray]) -> bool:
    """Whether a checkpoint holds moving averages of its variables."""
    return any(name.endswith(_AVERAGE) for name in variables)


def from_tensorflow(variables: Mapping[str, np.ndarray], averaged: bool = True) -> dict[str, Tensor]:
    """Variables of the official code as a state dict in timm's layout, float32.

    Args:
        variables: arrays by name; those of optimizers and the other kind of weights are not read.
        averaged: take the moving averages where the checkpoint has them, else the variables themselves.

    Raises:
        InputError: a name or a number of axes that the official network does not have; a name twice; an average
            missing among others.
    """
    weights = {}
    for place, name in _choose(variables, averaged).items():
        ours, convert, axes = place
        try:
            value = np.asarray(variables[name])
        except _UNREADABLE as error:  # a damaged dump, or objects in it
            raise InputError(f"{name} cannot be read ({error}). Make the dump with the two lines of --help.") from error
        if value.ndim != axes:
            raise InputError(f"{name} has the shape {list(value.shape)}; the official code's has {axes} axes.")
        weights[ours] = torch.from_numpy(np.array(convert(value), dtype=np.float32, order="C"))
    _join_qkv(weights)
    for name in [name for name in weights if name.endswith("running_mean")]:
        # Kept by PyTorch alone, and read by nothing while the momentum is a number.
        weights[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    return weights


def _choose(variables: Mapping[str, np.ndarray], averaged: bool) -> dict[tuple, str]:
    """The variable to take for each place of the network."""
    plain, averages, unknown = {}, {}, []
    for name in variables:
        base = name.removesuffix(_AVERAGE)
        place, chosen = _place(base), plain if base == name else averages
        if place is None:
            if not _is_training_state(name):
                unknown.append(name)
        elif chosen.setdefault(place, name) != name:
            raise InputError(f"The checkpoint holds two networks: {chosen[place]} and {name}. Give one that holds one.")
    if unknown or not (plain or averages):
        raise InputError(
            f"This is no checkpoint of the official MaxViT: {len(unknown)} of its {len(variables)} variables have "
            f"names unknown there ({listed(unknown)}). Those of tf.train.Checkpoint and of Model Garden are others."
        )
    if not (averaged and averages):
        return plain
    # Statistics of BatchNorm are moving averages by themselves.
    bare = [name for place, name in plain.items() if place not in averages and "/moving_" not in name]
    if bare:
        raise InputError(f"{len(bare)} variables have no average, though others do ({listed(bare)}). Give --raw.")
    return plain | averages


def _place(name: str) -> tuple | None:
    """(Name here, change of axes, number of axes) of a variable of the network; None for any other."""
    block = _BLOCK.fullmatch(name)
    layer, _, variable = block[3].rpartition("/") if block else name.rpartition("/")
    if block:
        ours, kind = _BLOCK_LAYERS.get(layer, ("", ""))
        ours = f"stages.{int(block[1])}.blocks.{int(block[2])}.{ours}"
    else:
        ours, kind = _OUTER_LAYERS.get(layer.rpartition("/")[2], ("", ""))
    if variable not in _KINDS.get(kind, {}):
        return None
    own_variable, convert, axes = _KINDS[kind][variable]
    return f"{ours}.{own_variable}", convert, axes


def _is_training_state(name: str) -> bool:
    variable, _, slot = name.rpartition("/")
    return bool(_COUNTERS.fullmatch(name)) or (slot in _SLOTS and _place(variable) is not None)


def _join_qkv(weights: dict[str, Tensor]) -> None:
    """Replaces q, k and v of each attention by timm's one projection, if all three are there."""
    for query in [name for name in weights if ".attn.q." in name]:
        names = [query.replace(".attn.q.", f".attn.{part}.") for part in "qkv"]
        if all(name in weights for name in names):
            weights[query.replace(".attn.q.", ".attn.qkv.")] = torch.cat([weights.pop(name) for name in names])
