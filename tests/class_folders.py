"""Small class folders for tests, in every layout that is read."""

import io
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ape", "bee", "cat")
PER_CLASS = {"train": 8, "val": 2}


def picture(label: int, index: int) -> bytes:
    """A PNG of 40x32 pixels, noise about a colour of its class."""
    colour = np.eye(3)[label] * 120 + 60
    noise = np.random.default_rng([label, index]).normal(0, 40, (32, 40, 3))
    buffer = io.BytesIO()
    Image.fromarray((colour + noise).clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def pictures(split: str, per_class: int | None = None):
    """(class, number, bytes) of each picture of a split; validation has others than training."""
    for label, name in enumerate(CLASSES):
        for i in range(per_class or PER_CLASS[split]):
            yield name, i, picture(label, i + (100 if split == "val" else 0))


def write_folders(root: Path, per_class: int | None = None) -> Path:
    for split in PER_CLASS:
        for name, i, content in pictures(split, per_class):
            path = root / split / name / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    archive.addfile(info, io.BytesIO(content))


def write_tars(root: Path) -> Path:
    """One tar file of class folders a split."""
    root.mkdir(parents=True)
    for split in PER_CLASS:
        with tarfile.open(root / f"{split}.tar", "w") as archive:
            for name, i, content in pictures(split):
                _add(archive, f"{name}/{i}.png", content)
    return root


def write_class_tars(root: Path) -> Path:
    """One tar file a class and split."""
    for split in PER_CLASS:
        (root / split).mkdir(parents=True)
        for label in CLASSES:
            with tarfile.open(root / split / f"{label}.tar", "w") as archive:
                for name, i, content in pictures(split):
                    if name == label:
                        _add(archive, f"{i}.png", content)
    return root


def write_shards(root: Path) -> Path:
    """WebDataset: two shards a split, a label file beside each image."""
    root.mkdir(parents=True)
    for split in PER_CLASS:
        archives = [tarfile.open(root / f"set-{split}-{k:04d}.tar", "w") for k in range(2)]
        for number, (name, _, content) in enumerate(pictures(split)):
            _add(archives[number % 2], f"{number:06d}.png", content)
            _add(archives[number % 2], f"{number:06d}.cls", str(CLASSES.index(name)).encode())
        for archive in archives:
            archive.close()
    return root
