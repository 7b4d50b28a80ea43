"""What keeps a run's work: checkpoints that are whole or not there, a stop on request or on NaN, exact places to go on.

``guard_training`` puts these in the place of mmengine's own parts, for every training of this project.
"""

import math
import os
import signal
import time
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.dist import all_reduce, is_distributed, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS, LOOPS
from mmengine.runner import EpochBasedTrainLoop
from torch.utils.data import BatchSampler

from ...errors import InputError, TrainingStopped, listed
from ...export.provenance import commit, versions
from ...work_dir import LAST_CHECKPOINT, kept
from ..inference.run_facts import FACTS, run_facts
from .step_record import reads_device, stays_on_device

_EPOCH_BATCHES = "epoch_batches"  # key in a checkpoint's meta: another number on resuming means other data
_DEVICE_INTERVAL = 10  # iterations
ONE_REQUEST_SECONDS = 5.0  # a dying torchrun signals once for each thread; a cluster and torchrun signal both
_SIGTERM_EXIT = 128 + signal.SIGTERM  # what a shell reports for a process that the signal ended


@HOOKS.register_module()
class SafeCheckpointHook(CheckpointHook):
    """mmengine's checkpoints, with the old ones deleted after the new one is whole; SIGTERM saves one more first.

    They say what commit and versions of the software the run trains with, as ``meta["software"]``, and what an export
    of the weights needs to know, as ``meta["maxvit_dense"]`` (see ``inference.run_facts``).

    On SIGTERM the optimizer step under way is finished, a checkpoint written, and the process left with exit code 143;
    ``--resume`` goes on in the middle of the epoch. An evaluation is left at once: it changes nothing of the training.
    A SIGTERM more than ``ONE_REQUEST_SECONDS`` after the first ends the process as usual.
    """

    def before_train(self, runner) -> None:
        super().before_train(runner)
        self.stop_requested_at: float | None = None  # of time.monotonic()
        self.runner = runner
        runner.evaluating = False
        self.place: dict[str, int] = {}  # epoch and iter of the checkpoint that is being saved
        self.software = dict(commit=commit(), versions=versions())
        self.handler_before = signal.signal(signal.SIGTERM, self._request_stop) or signal.SIG_DFL

    def after_train(self, runner) -> None:
        signal.signal(signal.SIGTERM, self.handler_before)
        super().after_train(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict[str, Any]) -> None:
        # FlexibleRunner counts an epoch too many, or an iteration, in what is saved after an evaluation.
        meta = checkpoint["meta"]
        meta.update(self.place, software=self.software)
        if isinstance(getattr(runner, "train_loop", None), EpochBasedTrainLoop):
            meta[_EPOCH_BATCHES] = len(runner.train_dataloader)
        meta[FACTS] = run_facts(runner.cfg, runner.model, meta)

    def after_load_checkpoint(self, runner, checkpoint: dict[str, Any]) -> None:
        runner.resumed_epoch_batches = checkpoint.get("meta", {}).get(_EPOCH_BATCHES)  # for ResumableEpochLoop

    def after_train_iter(self, runner, *args: Any, **kwargs: Any) -> None:
        super().after_train_iter(runner, *args, **kwargs)
        # Accumulated gradients are in no checkpoint: wait for the step that uses them.
        if runner.optim_wrapper.should_update() and self._any_process_asked(runner):
            self._save_and_leave(runner, runner.iter + 1)

    def before_val_epoch(self, runner) -> None:
        runner.evaluating = True  # EvaluationEndHook takes it back
        if getattr(self, "stop_requested_at", None) is not None:
            self._leave_evaluation(runner)

    def _request_stop(self, number: int, frame: Any) -> None:
        now = time.monotonic()
        if self.stop_requested_at is None:
            self.stop_requested_at = now
            if self.runner.evaluating:
                self._leave_evaluation(self.runner)
        elif now - self.stop_requested_at > ONE_REQUEST_SECONDS:
            signal.signal(number, self.handler_before)
            os.kill(os.getpid(), number)

    def _leave_evaluation(self, runner) -> None:
        """Each process by itself: all were asked, or the launcher ends the others."""
        runner.evaluating = False
        for hook in runner.hooks:
            if isinstance(hook, EMAHook):  # which evaluates the averaged weights in the place of the model's
                hook._swap_ema_parameters()
        self._save_and_leave(runner, runner.iter)

    def _any_process_asked(self, runner) -> bool:
        """The processes of a run hear of it at different steps, and must leave together."""
        if not is_distributed():
            return self.stop_requested_at is not None
        if not _may_ask_device(runner):
            return False
        asked = torch.tensor(float(self.stop_requested_at is not None))
        all_reduce(asked, "max")
        return bool(asked)

    def _save_and_leave(self, runner, step: int) -> None:
        # Beside the regular ones: not named by epoch, and not counted by max_keep_ckpts.
        self.by_epoch, self.filename_tmpl, self.max_keep_ckpts = False, "iter_{}.pth", -1
        self._save_checkpoint_with_step(runner, step, dict(epoch=runner.epoch, iter=step))
        runner.logger.warning(
            f"Stopped by SIGTERM after iteration {step}; saved {self.last_ckpt}. Go on with --resume."
        )
        runner.visualizer.close()
        raise SystemExit(_SIGTERM_EXIT)

    def _save_best_checkpoint(self, runner, metrics: dict[str, Any]) -> None:
        absent = [name for name in getattr(self, "key_indicators", ()) if name not in ("auto", *metrics)]
        if absent and not metrics:  # a detector that finds nothing yet is not rated
            return
        if absent:
            raise InputError(
                f"default_hooks.checkpoint.save_best names {listed(absent)}, and the evaluation gives "
                f"{listed(metrics)}. Name one of them, or 'auto', and go on with --resume; {kept(runner.work_dir)}."
            )
        self.place = dict(epoch=runner.epoch, iter=runner.iter)
        super()._save_best_checkpoint(runner, metrics)
        self.place = {}

    def _save_checkpoint_with_step(self, runner, step: int, meta: dict[str, Any]) -> None:
        name = self.filename_tmpl.format(step)
        self.last_ckpt = self.file_backend.join_path(self.out_dir, name)
        outdated = self._outdated(runner, step) if self.max_keep_ckpts > 0 else []
        runner.message_hub.update_info("last_ckpt", self.last_ckpt)
        self.place = dict(epoch=meta["epoch"], iter=meta["iter"])
        runner.save_checkpoint(
            self.out_dir,
            name,
            self.file_client_args,
            save_optimizer=self.save_optimizer,
            save_param_scheduler=self.save_param_scheduler,
            meta=meta,
            by_epoch=self.by_epoch,
            backend_args=self.backend_args,
            **self.args,
        )
        self.place = {}
        if is_main_process():
            self.file_backend.put_text(self.last_ckpt, os.path.join(runner.work_dir, LAST_CHECKPOINT))
            for path in outdated:
                self._remove(path)

    def _outdated(self, runner, step: int) -> list[str]:
        """Checkpoints that the one of ``step`` makes superfluous; the message hub keeps the others' list."""
        steps = [s for s in self.keep_ckpt_ids if s != step] + [step]
        self.keep_ckpt_ids.clear()
        self.keep_ckpt_ids.extend(steps)  # a deque of max_keep_ckpts
        runner.message_hub.update_info("keep_ckpt_ids", list(self.keep_ckpt_ids))
        gone = steps[: -self.max_keep_ckpts]
        return [self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(s)) for s in gone]

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # a checkpoint of several processes
            self.file_backend.rmtree(path)


@HOOKS.register_module()
class EvaluationEndHook(Hook):
    """Says that an evaluation is over, before a moving average gives the model's weights back."""

    priority = "ABOVE_NORMAL"  # EMAHook is NORMAL

    def after_val_epoch(self, runner, metrics: dict[str, float] | None = None) -> None:
        runner.evaluating = False


def _may_ask_device(runner) -> bool:
    """Whether this step may wait for the device: each one on a CPU, one in ``_DEVICE_INTERVAL`` on a GPU."""
    return get_device() == "cpu" or (runner.iter + 1) % _DEVICE_INTERVAL == 0


@HOOKS.register_module()
class StopAtNaNHook(Hook):
    """Ends a run whose loss or weights are no longer finite, before that reaches a checkpoint.

    A GPU is asked where a line is logged, and before each checkpoint: asking it makes it wait for the host.
    """

    priority = "ABOVE_NORMAL"  # before anything that averages, logs or saves

    def before_train(self, runner) -> None:
        self.first_wrong = torch.tensor([math.inf, 0.0])  # iteration and value of the first loss that was not finite

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        loss = (outputs or {}).get("loss")  # mmengine's sum of all losses
        if loss is None:
            return
        loss, before = loss.detach().float(), self.first_wrong.to(loss.device, non_blocking=True)
        now = torch.stack([torch.where(loss.isfinite(), math.inf, runner.iter + 1.0), loss])
        self.first_wrong = torch.where(before[0] <= now[0], before, now)
        if not stays_on_device(loss) or reads_device(runner, batch_idx):
            self._check_losses(runner)

    def _check_losses(self, runner) -> None:
        step, loss = self.first_wrong.tolist()
        if math.isfinite(step):
            self._stop(runner, int(step), f"loss is {loss}")

    def before_save_checkpoint(self, runner, checkpoint: dict[str, Any]) -> None:
        self._check_losses(runner)
        weights = checkpoint["state_dict"]
        wrong = [n for n, v in weights.items() if v.is_floating_point() and not torch.isfinite(v).all()]
        if wrong:
            self._stop(runner, runner.iter, f"{len(wrong)} tensors of the model ({wrong[0]}, ...) are no longer finite")

    def _stop(self, runner, step: int, reason: str) -> None:
        raise TrainingStopped(
            f"Training stopped at iteration {step} (epoch {runner.epoch + 1}): {reason}; {kept(runner.work_dir)}. "
            "Look at the data of that step, lower the learning rate, lengthen the warm-up, clip gradients, or, in "
            "float16, train in bfloat16 (--cfg-options optim_wrapper.dtype=bfloat16)."
        )


@LOOPS.register_module()
class ResumableEpochLoop(EpochBasedTrainLoop):
    """mmengine's epochs, entered where a checkpoint of the middle of one was written."""

    def run_epoch(self) -> None:
        self.runner.call_hook("before_train_epoch")
        self.runner.model.train()
        for index, data_batch in self._batches(self._done_before()):
            self.run_iter(index, data_batch)
        self.runner.call_hook("after_train_epoch")
        self._epoch += 1

    def _done_before(self) -> int:
        """Batches of this epoch that the resumed run had done; 0 where its epochs had another number of them.

        Only the first epoch of this process can have some: afterwards iterations need not be multiples of epochs.
        """
        batches = len(self.dataloader)
        first, self._entered = not getattr(self, "_entered", False), True
        if not first or not self._iter:
            return 0
        before = getattr(self.runner, "resumed_epoch_batches", None)
        done = self._iter - self._epoch * batches
        # All of them: saved behind the epoch's last iteration, before the epoch counts as done.
        if (before is None and 0 <= done < batches) or (before == batches and 0 <= done <= batches):
            return done
        self.runner.logger.warning(
            f"The resumed run had {before or 'another number of'} batches an epoch, this one has {batches}: the batch "
            f"or the images changed. Epoch {self._epoch + 1} begins whole."
        )
        return 0

    def _batches(self, done: int) -> Iterator[tuple[int, Any]]:
        """The epoch's batches with their numbers, but for the first ``done``."""
        if done and self._skip(done):
            return enumerate(self.dataloader, start=done)
        if done:
            self.runner.logger.info(
                f"Loading {done} batches again, without training, to come to where the run stopped."
            )
        return islice(enumerate(self.dataloader), done, None)

    def _skip(self, batches: int) -> bool:
        """Skip batches without loading them, if sampler and batches allow it."""
        loader = self.dataloader
        if type(loader.batch_sampler) is not BatchSampler or not hasattr(loader.sampler, "skip"):
            return False
        loader.sampler.skip(batches * loader.batch_size)
        return True


_REPLACED = {
    "CheckpointHook": "SafeCheckpointHook",
    "EpochBasedTrainLoop": "ResumableEpochLoop",
    "RuntimeInfoHook": "DeferredInfoHook",
}


def guard_training(cfg: Config) -> None:
    """Put the parts of this module in the place of mmengine's in ``cfg``; others stay as they are."""
    hooks = cfg.setdefault("default_hooks", ConfigDict())
    hooks.setdefault("checkpoint", ConfigDict(type="CheckpointHook", interval=1))  # mmengine's default
    _replace(hooks.checkpoint)
    hooks.setdefault("finite", ConfigDict(type="StopAtNaNHook"))
    hooks.setdefault("evaluation", ConfigDict(type="EvaluationEndHook"))
    hooks.setdefault("runtime_info", ConfigDict(type="RuntimeInfoHook"))
    _replace(hooks.runtime_info)
    if cfg.train_cfg.get("by_epoch") is True and "type" not in cfg.train_cfg:
        cfg.train_cfg.pop("by_epoch")
        cfg.train_cfg.type = "EpochBasedTrainLoop"
    _replace(cfg.train_cfg)


def _replace(entry: ConfigDict) -> None:
    entry["type"] = _REPLACED.get(entry.get("type"), entry.get("type"))


def adopt_seed(cfg: Config, checkpoint: Mapping[str, Any]) -> None:
    """Give a config without a seed that of the run that it resumes: the order of the images hangs on it.

    The Runner takes the seed over itself, but only after it has built the data's sampler.
    """
    seed = checkpoint["meta"].get("seed")
    randomness = cfg.setdefault("randomness", ConfigDict(seed=None))
    if seed is not None and randomness.get("seed") is None:
        randomness.seed = seed
