"""Images and labels for training and evaluating a classifier, through timm's readers and transforms."""

import time
from collections.abc import Mapping
from typing import Any

import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from PIL import Image
from timm.data import create_transform

from ...errors import InputError
from .draws import seed_all
from .image_check import refuse_no_file
from .layouts.class_folders import find_split, open_reader


@DATASETS.register_module()
class ClassFolders(BaseDataset):
    """Folders of class folders, tar files or WebDataset shards (see ``class_folders``), read and transformed by timm.

    An item is ``dict(inputs=(3, H, W) uint8, label=int, seconds=float, unreadable=str)``: the time that it took, and
    the name of the image that could not be read, if any; another stands in for it in training, none (label -1) in
    evaluation. ``ImageStreamHook`` tells of those and refuses or counts them.

    Every draw of the augmentation follows from (seed, epoch, index): neither the number of workers or processes nor
    an interruption changes it.

    Args:
        data_root: folder of the data set.
        split: "train" or "val".
        training: augment.
        transform: arguments of ``timm.data.create_transform``: input_size, auto_augment, crop_pct, ...
        unreadable: "refuse" or "skip" images that cannot be read; for ``ImageStreamHook``.
        metainfo: dict(classes=...), names in the order of their labels; by default those of the split.

    Raises:
        InputError: nothing to read there.
    """

    def __init__(
        self,
        data_root: str,
        split: str,
        transform: Mapping[str, Any],
        training: bool = False,
        unreadable: str = "refuse",
        metainfo: Mapping[str, Any] | None = None,
    ):
        check_unreadable(unreadable)
        self.split = split
        self.training = training
        self.unreadable = unreadable
        # uint8 to the workers' end: a quarter of the bytes to move; the model's ImageBatch normalises.
        self.transform = create_transform(**transform, is_training=training, normalize=False)
        # Seed and epoch; shared memory, because workers outlive an epoch.
        self.draw = torch.zeros(2, dtype=torch.int64).share_memory_()
        super().__init__(data_root=data_root, metainfo=metainfo, test_mode=not training, serialize_data=False)

    def full_init(self) -> None:
        if not self._fully_initialized:
            split = find_split(self.data_root, self.split)
            self.reader, self.on_disk = open_reader(split, self.metainfo.get("classes")), split.kind == "folders"
            self._fully_initialized = True

    def set_draw(self, seed: int, epoch: int) -> None:
        """What the augmentation of each image follows from, from the next image on."""
        self.draw[0], self.draw[1] = seed, epoch

    def __len__(self) -> int:
        return len(self.reader)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= len(self):  # ends a plain loop over the data set
            raise IndexError(index)
        begin = time.perf_counter()
        image, label, unreadable = self._read(index)
        if self.training:
            seed_all(*self.draw.tolist(), index)
        inputs = self.transform(image)
        return dict(inputs=inputs, label=label, seconds=time.perf_counter() - begin, unreadable=unreadable)

    def _read(self, index: int) -> tuple[Image.Image, int, str]:
        """The image, its label, and the name of the first one that could not be read."""
        unreadable = ""
        for place in range(index, index + len(self)):
            try:
                if self.on_disk:  # a pipe would be waited for
                    refuse_no_file(self.reader.filename(place % len(self), absolute=True))
                stream, label = self.reader[place % len(self)]
                with Image.open(stream) as image:
                    return image.convert("RGB"), int(label) if self.training or not unreadable else -1, unreadable
            except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError):  # Pillow's decoders
                unreadable = unreadable or self.reader.filename(place % len(self), absolute=True)
        raise InputError(f"Not one {self.split} image of {self.data_root} can be read.")


def check_unreadable(value: str) -> None:
    """Refuse any other word for what to do with images that cannot be read than the two."""
    if value not in ("refuse", "skip"):
        raise InputError(f"unreadable={value!r}: give 'refuse' or 'skip'")
