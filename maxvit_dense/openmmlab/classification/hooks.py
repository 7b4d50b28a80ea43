"""Runner hooks of classifier training: repeatable randomness, unreadable images, EMA of optimizer steps, throughput."""

import os
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import EMAHook, Hook
from mmengine.registry import HOOKS

from ...errors import InputError, listed
from ..data.draws import RepeatableDrawsHook


@HOOKS.register_module()
class ImageStreamHook(RepeatableDrawsHook):
    """Ties every random draw to where it is, as its base does, and deals with images that could not be read.

    Mixing, erasing and stochastic depth are draws of the model.
    """

    def __init__(self):
        self.unreadable: dict[str, int] = {}

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._note(runner, runner.train_dataloader.dataset, data_batch)
        super().before_train_iter(runner, batch_idx, data_batch)

    def before_val_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._note(runner, runner.val_dataloader.dataset, data_batch)

    def before_test_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        self._note(runner, runner.test_dataloader.dataset, data_batch)

    def after_train_epoch(self, runner) -> None:
        self._count(runner)

    def after_test_epoch(self, runner, metrics: Any = None) -> None:
        self._count(runner)

    def _note(self, runner, dataset, data_batch: Any) -> None:
        for name in filter(None, data_batch["unreadable"]):
            if dataset.unreadable == "refuse":
                raise InputError(
                    f"{name} cannot be read as an image. `python tools/check_dataset.py` lists all such; replace or "
                    "remove them, or leave them out with --cfg-options train_dataloader.dataset.unreadable=skip (val_ "
                    "and test_ likewise)."
                )
            if name not in self.unreadable:
                runner.logger.warning(f"left out, since it cannot be read as an image: {name}")
            self.unreadable[name] = self.unreadable.get(name, 0) + 1

    def _count(self, runner) -> None:
        if self.unreadable:
            shown = listed(sorted(self.unreadable))
            runner.logger.warning(f"{len(self.unreadable)} images left out so far, which cannot be read: {shown}")


@HOOKS.register_module()
class StepEMAHook(EMAHook):
    """mmengine's moving average, moved at optimizer steps alone: a decay is meant for those, not for the batches that
    are accumulated into one."""

    def after_train_iter(self, runner, *args: Any, **kwargs: Any) -> None:
        if runner.optim_wrapper.should_update():  # true right after a step
            super().after_train_iter(runner, *args, **kwargs)


@HOOKS.register_module()
class ThroughputHook(Hook):
    """Logs images/s of the model and of loading, and warns, with advice, when loading is the slower.

    ``train/model_rate`` counts the time from one batch to the next without waiting for data; ``train/load_rate`` what
    the data workers could deliver, from the time that they took for each image.

    Args:
        interval: iterations between two looks at which is slower.
        tolerated: share of the time that may pass waiting for data.
    """

    priority = "NORMAL"  # after IterTimerHook, before LoggerHook

    def __init__(self, interval: int = 100, tolerated: float = 0.1):
        self.interval = interval
        self.tolerated = tolerated
        self.warned = False

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        hub, workers = runner.message_hub, runner.train_dataloader.num_workers
        waited, whole = (hub.get_scalar(f"train/{name}").current() for name in ("data_time", "time"))
        images = len(data_batch["label"]) * get_world_size()
        loading = float(data_batch["seconds"].mean()) / max(workers, 1) / get_world_size()
        hub.update_scalar("train/model_rate", images / max(whole - waited, 1e-9))
        hub.update_scalar("train/load_rate", 1.0 / max(loading, 1e-9))
        if (batch_idx + 1) % self.interval == 0 and not self.warned:
            self._compare(runner, workers)

    def _compare(self, runner, workers: int) -> None:
        waited, whole, model, load = (
            runner.message_hub.get_scalar(f"train/{name}").mean(self.interval)
            for name in ("data_time", "time", "model_rate", "load_rate")
        )
        if workers == 0 or waited < self.tolerated * whole:
            return
        self.warned = True
        runner.logger.warning(
            f"LOADING IS SLOWER THAN THE MODEL: {load:.0f} images/s loaded, {model:.0f} trained; {waited / whole:.0%} "
            f"of the time is spent waiting. Workers: {workers} a process, and this machine has {os.cpu_count()} cores: "
            "try --cfg-options train_dataloader.num_workers=N. Else store the images smaller (short side 1.15 times "
            "the training size), on a local disk, or in one tar file; or train with less augmentation."
        )
