"""Batches that a model cannot be trained on."""

from collections.abc import Iterator
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from ...errors import InputError
from ..config_parts import type_name
from ..launch import world_size

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
    for name, head in _heads(cfg.model):
        norm = str((head.get("norm_cfg") or {}).get("type", ""))
        if norm.endswith("BN") and not (shared and norm == "SyncBN"):
            raise InputError(
                f"train_dataloader.batch_size is 1, and model.{name} ({head['type']}) pools images to one position, "
                f"which {norm} cannot normalise: it needs two values a channel. Give --cfg-options "
                f"train_dataloader.batch_size=2, or model.{name}.norm_cfg.type=GN model.{name}.norm_cfg.num_groups=32."
            )


def _heads(model: Any) -> Iterator[tuple[str, Any]]:
    for name, part in model.items():
        for index, head in enumerate(part) if isinstance(part, list | tuple) else ((None, part),):
            if isinstance(head, dict) and type_name(head) in _POOLING_HEADS:
                yield name if index is None else f"{name}.{index}", head
