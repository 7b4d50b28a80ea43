"""Files and folders that appear whole: written beside their place, then renamed into it."""

import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A new directory beside the target that takes its place at the end, or is removed on any failure."""
    partial, old = _beside(target, "new"), _beside(target, "old")
    partial.mkdir()
    try:
        yield partial
        replaced = target.is_dir() and any(target.iterdir())
        if replaced:
            target.rename(old)
        try:
            partial.rename(target)
        except OSError:
            if replaced:
                old.rename(target)
            raise
    except BaseException:  # an interrupt too must leave nothing behind
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def file_written_aside(target: Path) -> Iterator[Path]:
    """Path of a file beside the target that takes its place at the end, or is removed on any failure.

    It has one name, so that killed runs leave no heap of them.
    """
    _make_parent(target)
    partial = target.with_name(f".{target.name}.part")
    try:
        yield partial
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_whole(target: Path, content: bytes | str) -> None:
    """Writes a file (text as UTF-8) that a reader, or the next run, never sees half of, even after a power cut."""
    with file_written_aside(target) as partial, partial.open("wb") as stream:
        stream.write(content.encode() if isinstance(content, str) else content)
        stream.flush()
        os.fsync(stream.fileno())  # or the new name could outlive a power cut and its content not


def _beside(target: Path, kind: str) -> Path:
    _make_parent(target)
    return target.with_name(f".{target.name}.{kind}-{uuid.uuid4().hex[:8]}")


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
