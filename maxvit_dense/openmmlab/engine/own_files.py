"""Our own runs read checkpoints without running code that they hold, and write files that are whole or not there.

These, and a config's text laid out once, stand in the place of mmengine's parts for as long as a run lasts, and for no
other part of the process.
"""

import io
import logging
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partialmethod
from pathlib import Path
from typing import Any

import mmengine.runner.checkpoint as mmengine_checkpoint
import torch
from mmengine.fileio.backends import LocalBackend
from PIL import Image
from yapf.yapflib import yapf_api

from ...errors import InputError, TrainingStopped
from ...files import write_whole
from ...weights.safe_load import download_checkpoint, extract_state_dict, read_checkpoint
from ...work_dir import kept
from ..data.image_check import SUFFIXES
from .launch import stopping_together
from .places import WorkDirLock

_lock = threading.RLock()
_yapf = yapf_api.FormatCode
_laid_out: dict[str, Any] = {}  # the last result, by what was asked


@contextmanager
def own_files() -> Iterator[None]:
    """Inside, every checkpoint that mmengine opens is read by ``safe_load``, and local files appear whole.

    mmengine unpickles arbitrary objects when the safe way fails (onedl-mmengine 0.10.12), or calls plain ``torch.load``
    (mmengine 0.10.7). All its loaders (local files, http, torchvision://, openmmlab://, ...), and so ``load_from``,
    ``resume`` and ``init_cfg``, open files through these names and no other.
    """
    with _lock, ExitStack() as replaced:
        _replace(replaced, mmengine_checkpoint, "torch", _SafeTorch())
        _replace(replaced, mmengine_checkpoint, "load_url", _load_url)
        if hasattr(mmengine_checkpoint, "_safe_torch_load"):
            _replace(replaced, mmengine_checkpoint, "_safe_torch_load", _load_file)
        _replace(replaced, LocalBackend, "get", partialmethod(_get, LocalBackend.get))
        _replace(replaced, LocalBackend, "put", _put)
        _replace(replaced, LocalBackend, "put_text", _put)
        _replace(replaced, yapf_api, "FormatCode", _format_code)
        yield


def with_own_files(runner: type, lock: WorkDirLock | None = None) -> type:
    """A Runner's class whose runs take place inside :func:`own_files`; ``lock`` is released when training ends."""
    return type(runner.__name__, (_OwnFiles, runner), {"work_dir_lock": lock})


class _OwnFiles:

    work_dir_lock: WorkDirLock | None = None

    def build_logger(self, *args: Any, **kwargs: Any) -> Any:
        logger = super().build_logger(*args, **kwargs)
        quieten(logger)
        folder = getattr(self, "log_dir", self.work_dir)
        logger.info(f"The config, the versions and all messages of this run go to {folder}.")
        return logger

    def train(self) -> Any:
        try:
            with own_files(), stopping_together():
                return self._train()
        finally:
            if self.work_dir_lock is not None:
                self.work_dir_lock.release()

    def _train(self) -> Any:
        """A full disk, or an image or folder that was deleted meanwhile, ends a run with one message."""
        try:
            return super().train()
        except OSError as error:  # of a data worker, whose text has the traceback before it
            reason = str(error).strip().splitlines()[-1].partition("Error: ")
            raise TrainingStopped(
                f"Training stopped: {reason[2] or reason[0]}; {kept(self.work_dir)}. Free some space or put the file "
                "back, and go on with --resume."
            ) from error

    def val(self) -> Any:
        with own_files(), stopping_together():
            return super().val()

    def test(self) -> Any:
        with own_files(), stopping_together():
            return super().test()


def _replace(stack: ExitStack, owner: Any, name: str, value: Any) -> None:
    stack.callback(setattr, owner, name, getattr(owner, name))
    setattr(owner, name, value)


def _load_file(file: Any, map_location: Any = None, **_) -> dict[str, Any]:
    """In the place of ``torch.load``; ``weights_only`` is always True."""
    checkpoint = read_checkpoint(file, map_location or "cpu")
    if "state_dict" in checkpoint and "state_dict_ema" not in checkpoint:
        return checkpoint
    return {"state_dict": extract_state_dict(checkpoint)}  # the one place where mmengine looks


def _load_url(
    url: str, model_dir: str | None = None, map_location: Any = None, progress: bool = True
) -> dict[str, Any]:
    """In the place of torch's ``load_url``."""
    return _load_file(download_checkpoint(url, progress), map_location)


class _SafeTorch:
    """torch, but for its ``load``."""

    load = staticmethod(_load_file)

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def _format_code(text: str, **options: Any) -> Any:
    """In the place of yapf's ``FormatCode``: a run lays out its config five times before the first step, a second each,
    and once more for each checkpoint."""
    key = repr((text, options))
    if key not in _laid_out:
        _laid_out.clear()
        _laid_out[key] = _yapf(text, **options)
    return _laid_out[key]


def _get(backend: LocalBackend, read: Callable[[LocalBackend, Any], bytes], filepath: Any) -> bytes:
    """In the place of ``LocalBackend.get``: a pipe would be waited for, and a huge image fill the memory."""
    if os.path.exists(filepath) and not os.path.isfile(filepath):
        raise InputError(f"{filepath} is not a file: a pipe, a device or a folder. Put a file in its place.")
    content = read(backend, filepath)
    if str(filepath).lower().endswith(SUFFIXES):
        try:
            Image.open(io.BytesIO(content)).close()  # the header alone
        except Image.DecompressionBombError as error:
            raise InputError(f"Image {filepath} is too large to be read ({error}). Crop or resize it.") from error
        except (OSError, SyntaxError, ValueError, EOFError):  # the decoder's to say
            pass
    return content


def _put(backend: LocalBackend, obj: bytes | str, filepath: Any, encoding: str = "utf-8") -> None:
    write_whole(Path(filepath), obj if isinstance(obj, bytes) else obj.encode(encoding))


# What the terminal leaves out of a run's log: the file in the work dir has all of it.

# How messages begin that people cannot act on, or that are hundreds of lines: config, environment, the hooks' order, a
# line for each parameter group, and what the packages say of their own outdated calls.
_LEFT_OUT = ("Config:", "----", "Hooks will be executed", "paramwise_options", '"FileClient"', '"HardDiskBackend"')


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().lstrip().startswith(_LEFT_OUT)


def quieten(logger: logging.Logger) -> None:
    """Leave long and idle messages out of what ``logger`` shows, not out of the files that it writes."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and not any(isinstance(f, _Quiet) for f in handler.filters):
            handler.addFilter(_Quiet())
