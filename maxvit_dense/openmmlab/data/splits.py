"""The files below a folder, and the words by which they and their folders tell their split."""

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

SPLITS = {"train": ("training", "train"), "val": ("validation", "val", "valid")}
_LOOKED_INTO = 20  # files, to see what they are
_BY_WORD = {word: split for split, words in SPLITS.items() for word in words} | {"test": "test"}


def split_of(names: Iterable[str]) -> str:
    """"train", "val" or "test" by the first name that has such a word; "all" if none has."""
    words = (word for name in names for word in re.findall("[a-z]+", name.lower()))
    return next((_BY_WORD[word] for word in words if word in _BY_WORD), "all")


def folders_above(path: Path, root: Path) -> list[str]:
    """The names of the folders that a file lies in, the nearest first, below ``root``."""
    return [*reversed(path.relative_to(root).parts[:-1])]


def files_below(root: Path, form: str) -> list[Path]:
    """Files below a folder, sorted, but for hidden ones, as macOS leaves beside each file."""
    return sorted(path for path in root.rglob(form) if path.is_file() and not path.name.startswith("."))


def some_hold(root: Path, form: str, words: bytes) -> bool:
    """Whether one of the first files below a folder has ``words`` in it."""
    return any(words in path.read_bytes() for path in islice(files_below(root, form), _LOOKED_INTO))
