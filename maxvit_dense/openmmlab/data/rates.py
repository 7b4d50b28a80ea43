"""Images that a core prepares for training in a second: by a config's pipeline, timm's loader and torchvision's."""

import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count as numbers
from typing import Any

import cv2
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS, FUNCTIONS, DefaultScope
from pycocotools import mask as coco_mask
from timm.data import ImageDataset, create_transform
from timm.data.loader import fast_collate
from torch.utils.data import default_collate
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from ...benchmark import count
from ...benchmark.chips import CHIPS
from ...benchmark.rows import parse_row
from ...errors import InputError
from ..config.building import building
from ..config.load import load_config
from .configure import configure_data, replace_data_root
from .layouts.class_folders import find_split

# By scope of the config: the step of a backbone that takes the images, heads left out.
STEPS = {
    "mmdet": "maxvit_t features train bf16 cuda batch=2 size=800x1333",
    "mmseg": "maxvit_t features train bf16 cuda batch=2 size=512",
    "mmengine": "maxvit_t train bf16 cuda batch=64",
}
SECONDS = 1.0  # of a round
_CHIP = CHIPS[0]
_HEAD = ("pipeline", "images/s a core", "ms an image", "of it decoding", f"cores for {_CHIP.name}")


@dataclass(frozen=True)
class Pipeline:
    """``item`` prepares an image by its number, ``decode`` reads it only, ``collate`` makes a batch of items."""

    name: str
    item: Callable[[int], Any]
    decode: Callable[[int], Any]
    collate: Callable[[list], Any]


def measure(name: str, folder: str, rounds: int) -> tuple[str, list[dict]]:
    """Pipelines for the data of a config, side by side, as a table and as figures.

    Times are of the processor, so that neither a disk nor other work counts.

    Args:
        name: of a config: what it trains on, how, and in which batches.
        folder: photographs and labels, laid out as for ``train --data-root``; class folders may lack a train split.
        rounds: measurements of each pipeline, in turn; a table has their medians.

    Raises:
        InputError: no such config or data, or its model is none of a detector, a segmentor or a classifier.
    """
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    cfg = load_config(name, None, ("model", "train_dataloader"))
    scope, loader = cfg.get("default_scope"), cfg.train_dataloader
    if scope not in STEPS:
        raise InputError(f"{name} is of {scope}; pipelines of {', '.join(STEPS)} are measured")
    dataset = _dataset(cfg, scope, folder)
    step = parse_row(STEPS[scope])
    wanted = step.batch / _CHIP.least_seconds(count.count(step))
    pipelines = [_ours(name, loader, dataset), *_others(scope, loader, dataset)]
    results = [dict(pipeline=one.name, seconds=[], decoding=[], problem="") for one in pipelines]
    for _ in range(rounds):
        for result, one in zip(results, pipelines, strict=True):
            result["seconds"].append(_seconds(one.item, len(dataset), loader.batch_size, one.collate))
            result["decoding"].append(_seconds(one.decode, len(dataset), loader.batch_size, list))
    title = f"{folder}: {len(dataset)} images, batches of {loader.batch_size}; at best {_CHIP.name} takes "
    title += f"{wanted:.0f} images/s ({step.text})"
    return _table(title, results, wanted), results


def _dataset(cfg: Config, scope: str, folder: str):
    if not os.path.isdir(folder):
        raise InputError(f"{folder} is no folder")
    if scope == "mmengine":  # augmentation needs no labels to be right: any split will do
        replace_data_root(cfg, folder)
        try:
            find_split(folder, "train")
        except InputError:
            find_split(folder, "val")
            cfg.train_dataloader.dataset.split = "val"
    else:
        configure_data(cfg, ("train",), data_root=folder)
    with building("train_dataloader.dataset"), DefaultScope.overwrite_default_scope(scope):
        dataset = DATASETS.build(cfg.train_dataloader.dataset)
        dataset.full_init()
    return dataset


def _seconds(item: Callable, images: int, batch: int, collate: Callable) -> float:
    """Of the processor, for an image; the first batch is none of it."""
    index = numbers()
    collate([item(next(index) % images) for _ in range(batch)])
    begun, prepared = time.process_time(), 0
    while not prepared or time.process_time() - begun < SECONDS:
        collate([item(next(index) % images) for _ in range(batch)])
        prepared += batch
    return (time.process_time() - begun) / prepared


def _ours(name: str, loader, dataset) -> Pipeline:
    if hasattr(dataset, "reader"):
        return Pipeline(name, dataset.__getitem__, dataset._read, default_collate)
    read = dataset.pipeline.transforms[0]
    collate = FUNCTIONS.get(loader.get("collate_fn", dict(type="pseudo_collate"))["type"])
    return Pipeline(name, dataset.__getitem__, lambda i: read(dataset.get_data_info(i)), collate)


def _others(scope: str, loader, dataset) -> list[Pipeline]:
    """The nearest that timm and torchvision have to the recipes of this package, on the same files."""
    if scope == "mmengine":
        transform = create_transform(**loader.dataset.transform, is_training=True, use_prefetcher=True)
        timms = ImageDataset("", reader=dataset.reader, transform=transform)
        size = loader.dataset.transform["input_size"]
        crop = v2.RandomResizedCrop(size, interpolation=v2.InterpolationMode.BICUBIC)
        augment = v2.Compose([crop, v2.RandomHorizontalFlip(), v2.RandAugment(2, 15)])

        def read(i: int) -> torch.Tensor:
            return decode_image(dataset.reader.filename(i, absolute=True), ImageReadMode.RGB)

        return [
            Pipeline("timm's loader", timms.__getitem__, dataset._read, fast_collate),
            Pipeline("torchvision v2", lambda i: augment(read(i)), read, torch.stack),
        ]

    def read(i: int) -> torch.Tensor:
        return decode_image(dataset.get_data_info(i)["img_path"], ImageReadMode.RGB)

    make, augment = (_detection, _detection_transform()) if scope == "mmdet" else (_masks, _segmentation_transform())
    return [Pipeline("torchvision v2", lambda i: augment(*make(dataset.get_data_info(i), read(i))), read, list)]


def _detection(info: dict, image: torch.Tensor) -> tuple:
    height, width = image.shape[1:]
    found = [one for one in info["instances"] if not one["ignore_flag"] and isinstance(one.get("mask"), list)]
    rles = [coco_mask.merge(coco_mask.frPyObjects(one["mask"], height, width)) for one in found]
    masks = torch.from_numpy(coco_mask.decode(rles)).permute(2, 0, 1) if rles else torch.zeros(0, height, width)
    boxes = torch.tensor([one["bbox"] for one in found]).reshape(-1, 4)
    boxes = tv_tensors.BoundingBoxes(boxes, format="XYXY", canvas_size=(height, width))
    return tv_tensors.Image(image), boxes, tv_tensors.Mask(masks)


def _detection_transform() -> Callable:
    """Scale jitter of references/detection, with the sizes of DETR's augmentation."""
    sides = list(range(480, 801, 32))
    crop = [v2.RandomShortestSize([400, 500, 600], 1333), v2.RandomCrop((384, 600), pad_if_needed=True)]
    resize = v2.RandomShortestSize(sides, 1333)
    return v2.Compose([v2.RandomHorizontalFlip(), v2.RandomChoice([resize, v2.Compose([*crop, resize])])])


def _masks(info: dict, image: torch.Tensor) -> tuple:
    return tv_tensors.Image(image), tv_tensors.Mask(decode_image(info["seg_map_path"], ImageReadMode.UNCHANGED))


def _segmentation_transform() -> Callable:
    crop = v2.RandomCrop((512, 512), pad_if_needed=True, fill={tv_tensors.Mask: 255, "others": 0})
    return v2.Compose([v2.RandomResize(256, 1025), crop, v2.RandomHorizontalFlip(), v2.RandomPhotometricDistort()])


def _table(title: str, results: list[dict], wanted: float) -> str:
    lines = [_HEAD, ("---",) * len(_HEAD)]
    for result in results:
        whole, decoding = (statistics.median(result[key]) for key in ("seconds", "decoding"))
        figures = (f"{1 / whole:.3g}", f"{whole * 1e3:.3g}", f"{decoding * 1e3:.3g}", str(math.ceil(wanted * whole)))
        lines.append((result["pipeline"], *figures))
    return "\n".join([f"{title}:", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""])
