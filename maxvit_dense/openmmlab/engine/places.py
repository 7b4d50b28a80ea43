"""The folders that a run writes to: whether it may, whether they have room, and that one training has one to itself."""

import fcntl
import json
import os
import shutil
import socket
import sys
import time
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.dist import broadcast_object_list, is_main_process
from torch import nn

from ...errors import InputError
from ...files import blocked, nearest, remove_leftovers

LOCK = ".training"  # file of a work dir, locked by the process that trains there

_LOG_BYTES = 64 * 2**20


def set_work_dir(cfg: Config, config: str, work_dir: str | None) -> None:
    """The work dir is the one given, the config's, or ``work_dirs/<config name>``."""
    name = os.path.splitext(os.path.basename(config))[0]
    cfg.work_dir = work_dir or cfg.get("work_dir") or os.path.join("work_dirs", name)


def check_writable(folder: str) -> None:
    """Refuses what can be no folder, or may not be written to."""
    if problem := blocked(Path(folder, "any file")):
        raise InputError(f"Nothing can be written in {folder!r}: {problem}. Give another.")


def check_space(cfg: Config, model: nn.Module) -> None:
    """Room for two checkpoints at least: a new one is written before the old one is deleted."""
    weights = sum(value.numel() * value.element_size() for value in model.state_dict().values())
    moments = 8 * sum(p.numel() for p in model.parameters() if p.requires_grad)  # AdamW's two, 4 bytes each
    needed = 2 * (weights + moments) + _LOG_BYTES
    free = shutil.disk_usage(nearest(Path(cfg.work_dir))).free
    if free < needed:
        raise InputError(
            f"Work dir {cfg.work_dir} has {free / 2**30:.1f} GiB free; two checkpoints of this model take "
            f"{needed / 2**30:.1f} GiB. Free some space or give another --work-dir."
        )


def make_work_dir(work_dir: str) -> None:
    """
    Raises:
        InputError: it cannot be made.
    """
    try:
        os.makedirs(work_dir, exist_ok=True)
    except OSError as error:
        raise InputError(f"Work dir {work_dir} cannot be made ({error}). Give another --work-dir.") from error


class WorkDirLock:
    """Keeps other trainings out of a work dir until ``release``, or until this process has ended in whatever way.

    A record lock, which no child inherits and the system drops with its process, so that a dead run's does not count.
    All processes of a run hear what the first of them found.

    Raises:
        InputError: another process trains there.
    """

    def __init__(self, work_dir: str):
        self.path, self.file = Path(work_dir) / LOCK, None
        verdict: list[Any] = [self._take() if is_main_process() else None]
        broadcast_object_list(verdict)
        if verdict[0] is not None:
            raise InputError(
                f"Work dir {work_dir} is in use: {verdict[0]} trains there. Wait for it, end it, or give another "
                "--work-dir."
            )
        if is_main_process():
            remove_leftovers(Path(work_dir))

    def _take(self) -> str | None:
        """Takes the lock, or tells who has it."""
        while True:
            file = open(self.path, "a+", encoding="utf-8")
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                return file.read().strip() or "another process"
            if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                break  # else its holder removed it meanwhile
            file.close()
        file.truncate(0)
        command = json.dumps(" ".join(sys.argv[:3]))
        file.write(f"process {os.getpid()} of {socket.gethostname()} ({command}, since {time.strftime('%d %b %H:%M')})")
        file.flush()
        self.file = file
        return None

    def release(self) -> None:
        if self.file is not None:
            self.path.unlink(missing_ok=True)
            self.file.close()
            self.file = None
