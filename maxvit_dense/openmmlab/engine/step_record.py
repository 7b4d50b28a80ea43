"""What a training step records: peak memory, and losses and norms, which stay on the device until a line is logged."""

import resource
import sys
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.hooks import Hook, LoggerHook, RuntimeInfoHook
from mmengine.registry import HOOKS
from torch import Tensor
from torch.distributed.tensor import DTensor

_UNLOGGED_INTERVAL = 50  # iterations, where nothing logs


def stays_on_device(value: Any) -> bool:
    """Whether reading a value would make the host wait for a device."""
    return isinstance(value, Tensor) and not value.is_cpu


def reads_device(runner, batch_idx: int) -> bool:
    """Whether the device is read after this iteration: a line of the log follows, or the epoch or training ends."""
    interval = next((hook.interval for hook in runner.hooks if isinstance(hook, LoggerHook)), _UNLOGGED_INTERVAL)
    done = batch_idx + 1
    return done % interval == 0 or done == len(runner.train_dataloader) or runner.iter + 1 == runner.max_iters


@HOOKS.register_module()
class DeferredInfoHook(RuntimeInfoHook):
    """mmengine's record of losses and gradient norms, which leaves them on the device until they are logged.

    mmengine reads each of them in each step, and with each the host waits until the device has done all its work.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.waiting: list[tuple[str, Tensor]] = []
        self.clips = {}
        for wrapper in getattr(runner.optim_wrapper, "optim_wrappers", {"": runner.optim_wrapper}).values():
            if hasattr(wrapper, "clip_func"):
                self.clips[wrapper] = wrapper.clip_func
                wrapper.clip_func = self._keeping_norm(wrapper.clip_func)

    def _keeping_norm(self, clip):
        """The same without a result, for mmengine would read it."""

        def clip_gradients(*args, **kwargs):
            norm = clip(*args, **kwargs)
            if isinstance(norm, DTensor):  # of gradients in shards: their processes add it up together
                norm = norm.full_tensor()
            if not stays_on_device(norm):
                return norm
            self.waiting.append(("train/grad_norm", norm.detach()))
            return None

        return clip_gradients

    def after_train(self, runner) -> None:
        for wrapper, clip in self.clips.items():
            wrapper.clip_func = clip
        super().after_train(runner)

    def after_train_iter(
        self, runner, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        outputs = outputs or {}
        self.waiting += [(f"train/{key}", value.detach()) for key, value in outputs.items() if stays_on_device(value)]
        at_hand = {key: value for key, value in outputs.items() if not stays_on_device(value)}
        super().after_train_iter(runner, batch_idx, data_batch, at_hand)
        if reads_device(runner, batch_idx):
            self._read(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict[str, Any]) -> None:
        """A checkpoint holds the whole record; it waits for the device anyway."""
        self._read(runner)
        checkpoint["message_hub"] = runner.message_hub.state_dict()

    def _read(self, runner) -> None:
        if self.waiting:
            values = torch.stack([value.float().reshape(()) for _, value in self.waiting]).tolist()  # one wait for all
            for (name, _), value in zip(self.waiting, values, strict=True):
                runner.message_hub.update_scalar(name, value)
            self.waiting = []


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
