"""The demos' data, drawn when a run first needs it."""

import fcntl
import logging
import os
from pathlib import Path

from mmengine.config import Config

from ....errors import InputError
from ....sample_data import write_sample_data
from ..data_set import PHASES, data_sets

_SAMPLES = Path("data", "sample")  # what the configs of configs/demo/ read, below the current folder

_logger = logging.getLogger(__name__)


def draw_missing_samples(cfg: Config) -> None:
    """Draw the sample data set if a data set of ``cfg`` lies in its folder and that folder is not there.

    Of several processes one draws and the others wait.

    Raises:
        InputError: the folder cannot be written.
    """
    roots = [Path(data.root) for data in data_sets(cfg, PHASES)]
    if _SAMPLES.exists() or not any(root.is_relative_to(_SAMPLES) for root in roots):
        return
    _logger.info(f"Drawing the sample data set of this config in {_SAMPLES}, some seconds.")
    try:
        _SAMPLES.parent.mkdir(exist_ok=True)
        lock = os.open(_SAMPLES.parent, os.O_RDONLY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _SAMPLES.exists():
                write_sample_data(_SAMPLES)
        finally:
            os.close(lock)
    except OSError as error:
        raise InputError(f"The sample data set cannot be drawn in {_SAMPLES}: {error}. Use another folder.") from error
