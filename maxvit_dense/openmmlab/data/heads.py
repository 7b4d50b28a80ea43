"""Sizes the heads of a model by the number of classes."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import ConfigDict

from ...errors import InputError

# Parts of a detector that hold no classes of the data: proposals are objects or not, stuff has its own labels.
_OTHER_HEADS = ("rpn_head", "semantic_head")


def size_heads(model: ConfigDict, count: int, old: int) -> list[str]:
    """Set every class count of a model's heads; the names of those that held one.

    Args:
        model: entry of a config.
        count: classes of the data.
        old: classes of the config.

    Raises:
        InputError: weights or outputs that are a matter of the config's own classes.
    """
    resized = []
    for name, part in _head_parts(model):
        before = len(resized)
        _size_outputs(part, count, name)
        for key, value in (("num_classes", count), ("num_things_classes", count), ("num_stuff_classes", 0)):
            if key in part:
                part[key] = value
                resized[before:] = [name]
        if isinstance(part.get("class_weight"), list | tuple):
            part["class_weight"] = _resized_weights(part["class_weight"], count, old, name)
    return resized


def _head_parts(part: Any, name: str = "", in_head: bool = False) -> Iterator[tuple[str, ConfigDict]]:
    """All entries of a model's config that belong to a head of classes, with their dotted names."""
    if isinstance(part, list | tuple):
        for index, item in enumerate(part):
            yield from _head_parts(item, f"{name}[{index}]", in_head)
    if not isinstance(part, dict):
        return
    if in_head:
        yield name, part
    for key, value in part.items():
        if key not in _OTHER_HEADS:
            yield from _head_parts(value, f"{name}.{key}".lstrip("."), in_head or key.endswith("head"))


def _size_outputs(part: ConfigDict, count: int, name: str) -> None:
    """mmseg's heads may name their outputs beside their classes: as many, or one that tells two apart."""
    outputs, old = part.get("out_channels"), part.get("num_classes")
    if outputs is None or old is None:
        return
    if outputs == old:
        part["out_channels"] = count
    elif outputs == 1 and count != 2:
        raise InputError(
            f"model.{name} has one output, which tells 2 classes apart, and the data has {count}. Take out_channels=1 "
            "out of the config, and use_sigmoid of its loss with it."
        )


def _resized_weights(weights: list[float], count: int, old: int, name: str) -> list[float]:
    """Loss weights of ``count`` classes, and of the background if it stands behind ``old`` ones."""
    background = [] if len(weights) == old else [weights[-1]]
    classes = list(weights[: len(weights) - len(background)])
    if len(classes) == count:
        return list(weights)
    if len(set(classes)) != 1:
        raise InputError(
            f"model.{name}.class_weight weighs {len(classes)} classes one by one, and the data has {count}. Give "
            f"{count} weights{' and that of the background' if background else ''} with --cfg-options, and the classes "
            "with them: train_dataloader.dataset.metainfo.classes=... (val_ and test_ likewise), num_classes=..."
        )
    return [classes[0]] * count + background
