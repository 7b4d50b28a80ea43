"""Writes the report of a training run."""

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import all_gather_object, is_main_process
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...export.provenance import commit, versions
from ...files import write_whole
from .curves import FILE_NAME as CURVES
from .curves import SideOutputHook
from .page import page
from .tally import Tally
from .worst import draw_worst

REPORT, WORST = "report.html", "worst.jpg"
_FAILURE = f"{REPORT} cannot be written"


@HOOKS.register_module()
class ReportHook(SideOutputHook):
    """Write ``worst.jpg`` and ``report.html`` into the work dir after each validation and at the end of training.

    The page is one file that needs no network: figures, curves, a table and a confusion matrix of the classes, the
    images with most mistakes, the command and the versions. One that cannot be written is warned of once, and training
    goes on.
    """

    priority = "LOWEST"  # behind the CurvesHook, whose picture the page takes in

    def __init__(self):
        super().__init__()
        self._began = time.monotonic()
        self._tally: Tally | None = None
        self._worst: bytes | None = None
        self._metrics: dict[str, float] = {}
        self._best: dict[str, float] = {}

    def before_val_epoch(self, runner: Runner) -> None:
        classes = (getattr(runner.val_dataloader.dataset, "metainfo", None) or {}).get("classes") or ()
        self._tally = Tally([str(name) for name in classes])

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        with self.without_stopping(runner, _FAILURE):
            for sample in outputs or ():
                if self._tally and self._tally.classes:
                    self._tally.add(sample)

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        first, *others = all_gather_object(self._tally)
        self._metrics = {k: float(v) for k, v in (metrics or {}).items() if isinstance(v, int | float)}
        self._best = {k: max(v, self._best.get(k, v)) for k, v in self._metrics.items()}
        if not is_main_process():
            return
        with self.without_stopping(runner, _FAILURE):
            for other in others:
                first.merge(other)
            self._tally = first
            self._worst = draw_worst(first.worst)
            if self._worst:
                write_whole(Path(runner.work_dir) / WORST, self._worst)
        self._write(runner)

    def after_train(self, runner: Runner) -> None:
        if is_main_process():
            self._write(runner)

    def _write(self, runner: Runner) -> None:
        with self.without_stopping(runner, _FAILURE):
            work_dir = Path(runner.work_dir)
            pictures = {}
            if (work_dir / CURVES).is_file():
                pictures["Curves"] = ("image/png", (work_dir / CURVES).read_bytes())
            if self._worst:
                pictures["Images with most mistakes"] = ("image/jpeg", self._worst)
            facts = self._facts(runner)
            write_whole(
                work_dir / REPORT,
                page(runner.experiment_name, facts, self._metrics, self._best, self._tally, pictures),
            )

    def _facts(self, runner: Runner) -> dict[str, str]:
        software = versions()
        return {
            "command": shlex.join([os.path.basename(sys.argv[0]), *sys.argv[1:]]),
            "config": os.path.basename(str(runner.cfg.filename or "")),
            "trained": f"epoch {runner.epoch}, iteration {runner.iter}",
            "time": f"{(time.monotonic() - self._began) / 60:.1f} minutes since the start of this command",
            "date": time.strftime("%Y-%m-%d %H:%M"),
            "seed": str(runner.seed),
            "versions": ", ".join(f"{name} {version}" for name, version in software.items()),
            **({"commit": found} if (found := commit()) else {}),
        }
