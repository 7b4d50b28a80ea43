"""Files and folders that appear whole: written beside their place, then renamed into it."""

import errno
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(target: Path) -> Iterator[Path]:
    """A new directory beside the target that takes its place at the end, or is removed on any failure."""
    partial, old = _beside(target, "new"), _beside(target, "old")
    remove_leftovers(target.parent, target.name)
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


def blocked(target: Path) -> str:
    """Why nothing can be written at a place, whatever is there now; "" if something can."""
    if "\0" in str(target):
        return "its name has a zero byte in it"
    above = nearest(target.absolute().parent)
    if not above.is_dir():
        return f"{above} is a file"
    return "" if os.access(above, os.W_OK | os.X_OK) else f"no permission to write in {above}"


def blocked_file(target: Path) -> str:
    """``blocked`` of a file, which cannot take a folder's place."""
    return blocked(target) or ("it is a folder" if target.is_dir() else "")


def nearest(path: Path) -> Path:
    """The path, or what is there of those above it."""
    return next(each for each in (path.absolute(), *path.absolute().parents) if os.path.lexists(each))


def remove_leftovers(folder: Path, name: str | None = None) -> None:
    """Removes what writers that were killed left in a folder.

    Args:
        folder: in which nobody else writes files now.
        name: of the one target whose leftovers are meant: folders alone, since a partial file is written over.
    """
    for path in folder.glob(".*"):
        found = _LEFTOVER.fullmatch(path.name)
        if found is None or (name is not None and found["name"] != name):
            continue
        if found["process"] is None and name is None:
            path.unlink(missing_ok=True)
        elif found["process"] is not None and not _is_alive(int(found["process"])):
            shutil.rmtree(path, ignore_errors=True)


_LEFTOVER = re.compile(r"\.(?P<name>.+)\.(part|new-(?P<process>\d+)-[0-9a-f]{8})")


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # another user's
        pass
    return True


def _beside(target: Path, kind: str) -> Path:
    _make_parent(target)
    return target.with_name(f".{target.name}.{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}")


def _make_parent(target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(target.parent)) from None
