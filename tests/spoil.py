"""Ways in which files go wrong."""

import json
import os

import numpy as np
from PIL import Image

ORIENTATION = 274  # EXIF's tag


class WritesAFile:
    """Pickles to a call that creates a file, as a hostile checkpoint would."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"echo ran > {self.path}",)


def first(root, pattern):
    return sorted(root.glob(pattern))[0]


def edit(root, change, split="train"):
    """Change the content of a COCO annotation file."""
    path = root / "annotations" / f"instances_{split}2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def turned(path):
    """Annotated as it lies in the file; training reads it upright."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(path) as opened:
        opened.convert("RGB").save(path, exif=exif)


def deep(path):
    """In 16 bits."""
    with Image.open(path) as opened:
        size = opened.size
    Image.fromarray(np.full(size[::-1], 4095, np.uint16)).save(path, "PNG")


def blank(path, size, mode="RGB"):
    Image.new(mode, size).save(path)


def as_jpeg(path):
    with Image.open(path) as opened:
        opened.save(path.with_suffix(".jpg"))
    path.unlink()
