"""Runner hooks of this package."""

import resource
import sys

from mmengine.device import get_device
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class PeakMemoryHook(Hook):
    """Log the process's peak memory while training on a CPU, as mmengine does for a GPU's: ``memory``, MB.

    The figure is the resident set of the training process, without its data workers.
    """

    priority = "NORMAL"  # before the LoggerHook, which is BELOW_NORMAL

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if get_device() == "cpu":
            runner.message_hub.update_scalar("train/memory", peak_memory_mb())


def peak_memory_mb() -> int:
    """Largest resident set of this process so far, in MB (2**20 bytes)."""
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts kilobytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit // 2**20
