"""The words by which files and folders tell their split."""

import re
from collections.abc import Iterable
from pathlib import Path

SPLITS = {"train": ("training", "train"), "val": ("validation", "val", "valid")}
_BY_WORD = {word: split for split, words in SPLITS.items() for word in words} | {"test": "test"}


def split_of(names: Iterable[str]) -> str:
    """"train", "val" or "test" by the first name that has such a word; "all" if none has."""
    words = (word for name in names for word in re.findall("[a-z]+", name.lower()))
    return next((_BY_WORD[word] for word in words if word in _BY_WORD), "all")


def folders_above(path: Path, root: Path) -> list[str]:
    """The names of the folders that a file lies in, the nearest first, below ``root``."""
    return [*reversed(path.relative_to(root).parts[:-1])]
