"""Heads of a model and one's own data: classes, their names and colours, and batches that a head can be trained on."""

from typing import Any

from mmdet.visualization.palette import get_palette
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device

from ....errors import InputError
from ...config.launchers import world_size
from ...config.parts import entries, type_name

# Parts of a detector that hold no classes of the data: proposals are objects or not, stuff has its own labels.
_OTHER_HEADS = ("rpn_head", "semantic_head")


def own_metainfo(names: tuple[str, ...]) -> dict[str, Any]:
    """Classes and a colour for each; in plain numbers, since drawing with OpenCV takes no others."""
    colours = get_palette("random", len(names))
    return dict(classes=names, palette=[tuple(int(part) for part in colour) for colour in colours])


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
    for name, part in entries(model, "**"):
        if not isinstance(part, dict) or not _is_of_classes(name):
            continue
        before = len(resized)
        _size_outputs(part, count, name)
        for key, value in (("num_classes", count), ("num_things_classes", count), ("num_stuff_classes", 0)):
            if key in part:
                part[key] = value
                resized[before:] = [name]
        if isinstance(part.get("class_weight"), list | tuple):
            part["class_weight"] = _resized_weights(part["class_weight"], count, old, name)
    return resized


def _is_of_classes(name: str) -> bool:
    """Whether an entry of a model's config, by its dotted name, belongs to a head of classes."""
    words = name.split(".")
    return any(word.endswith("head") for word in words) and not {*words} & {*_OTHER_HEADS}


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


# Heads of mmseg that pool each image to a single position, and normalise it with its batch.
_POOLING_HEADS = ("UPerHead", "PSPHead", "ASPPHead", "DepthwiseSeparableASPPHead", "EncHead", "DMHead", "APCHead")


def check_batch(cfg: Config) -> None:
    """Refuse one image a batch where BatchNorm then has a single value a channel to normalise.

    Raises:
        InputError: that is so.
    """
    if cfg.train_dataloader.get("batch_size") != 1:
        return
    shared = world_size(cfg.get("launcher", "none")) > 1 and get_device() != "cpu"  # SyncBN takes the others' images
    for name, head in entries(cfg.model, "**"):
        if not isinstance(head, dict) or type_name(head) not in _POOLING_HEADS:
            continue
        norm = str((head.get("norm_cfg") or {}).get("type", ""))
        if norm.endswith("BN") and not (shared and norm == "SyncBN"):
            raise InputError(
                f"train_dataloader.batch_size is 1, and model.{name} ({head['type']}) pools images to one position, "
                f"which {norm} cannot normalise: it needs two values a channel. Give --cfg-options "
                f"train_dataloader.batch_size=2, or model.{name}.norm_cfg.type=GN model.{name}.norm_cfg.num_groups=32."
            )
