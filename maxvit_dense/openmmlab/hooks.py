"""Runner hooks of this package."""

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


class SideOutputHook(Hook):
    """A hook that leaves something for people beside a training, which is worth more than that."""

    def __init__(self):
        self._warned = False

    @contextmanager
    def without_stopping(self, runner, failure: str) -> Iterator[None]:
        """Whatever goes wrong inside ends it, and the first time is warned of: "``failure``: what it was"."""
        try:
            yield
        except Exception as error:
            if not self._warned:
                runner.logger.warning(f"{failure}: {type(error).__name__}: {error}")
            self._warned = True


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Log the process's peak memory while training on a CPU, as mmengine does for a GPU's: ``memory``, MB.

    The figure is the resident set of the training process, without its data workers.
    """

    priority = "NORMAL"  # before the LoggerHook, which is BELOW_NORMAL

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if get_device() == "cpu":
            runner.message_hub.update_scalar("train/memory", _peak_memory_mb())


def _peak_memory_mb() -> int:
    """Largest resident set of this process so far, in MB (2**20 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
