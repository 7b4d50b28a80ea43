"""Commands in forked processes: everything is imported once, and each command answers within a second or two."""

import contextlib
import logging
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_LONGEST = 300  # seconds


@dataclass(frozen=True)
class Answer:
    """What a command did.

    Attributes:
        code: its exit code; negative for a signal.
        said: standard output and error.
        written: files and folders that it made or changed below the folder watched.
    """

    code: int
    said: str
    written: tuple[str, ...]

    @property
    def messages(self) -> str:
        return "\n".join(line for line in self.said.splitlines() if line.partition(":")[0] in ("train", "test"))


def _seen(folder: Path) -> set[tuple]:
    return {(str(p.relative_to(folder)), p.lstat().st_mtime_ns, p.lstat().st_size) for p in folder.rglob("*")}


def run_forked(action: Callable[[], int], watched: Path) -> Answer:
    """Run ``action``, which returns an exit code, in a process of its own with ``watched`` as its working folder."""
    before = _seen(watched)
    with tempfile.TemporaryFile() as output:
        process = os.fork()
        if process == 0:
            _be_child(action, watched, output.fileno())
        _, status = os.waitpid(process, 0)
        output.seek(0)
        said = output.read().decode(errors="replace")
    written = sorted({name for name, *_ in _seen(watched) - before})
    return Answer(os.waitstatus_to_exitcode(status), said, tuple(written))


def _be_child(action: Callable[[], int], watched: Path, output: int) -> None:
    code = 99
    try:
        os.dup2(output, 1)
        os.dup2(output, 2)
        sys.stdout = os.fdopen(1, "w", buffering=1, closefd=False)
        sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        logging.raiseExceptions = False  # handlers that tests before left write to closed streams, and would say so
        os.chdir(watched)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LONGEST)
        code = action()
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code)
