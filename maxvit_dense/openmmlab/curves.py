"""Training curves: losses, validation metrics and learning rate of a run, drawn into its work dir.

The figures are those that mmengine's LoggerHook smooths and its LocalVisBackend writes, one JSON object a line, to
``<work dir>/<start of the run>/vis_data/scalars.json``. A line of training has ``iter``; one of validation has only
``step``, which counts epochs or iterations as the LoggerHook is set.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import EpochBasedTrainLoop, Runner

FILE_NAME = "curves.png"
_SCALARS = "vis_data/scalars.json"

# Metrics worth a curve by the last part of their logged name: what papers call them, and the factor to percent.
_METRICS = {
    "bbox_mAP": ("box AP", 100),
    "bbox_mAP_50": ("box AP50", 100),
    "segm_mAP": ("mask AP", 100),
    "segm_mAP_50": ("mask AP50", 100),
    "mIoU": ("mIoU", 1),
    "mAcc": ("mAcc", 1),
    "aAcc": ("aAcc", 1),
    "top1": ("top-1", 1),
    "top5": ("top-5", 1),
}
# DETR-like heads repeat each loss for every decoder layer (d0.loss_cls): only the last layer's is drawn.
_INTERMEDIATE = re.compile(r"(^|\.)d\d+\.")
_PHASE = re.compile(r"^(train|val)/")

Series = tuple[list[int], list[float]]


@dataclass(frozen=True)
class Record:
    """One logged line: training iterations done by then, and the figures by name."""

    step: int
    training: bool
    scalars: Mapping[str, float]


@dataclass
class Curves:
    """What is drawn: by name, steps (training iterations) and values. Metrics are in percent."""

    losses: dict[str, Series] = field(default_factory=dict)
    metrics: dict[str, Series] = field(default_factory=dict)
    rates: dict[str, Series] = field(default_factory=dict)


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draw ``curves.png`` into the work dir after each validation and at the end of training.

    A resumed run's curves begin with those of the runs before it, which are read from the folder of the checkpoint
    that it goes on from. A picture that cannot be drawn is warned of once, and training goes on.
    """

    priority = "LOWEST"  # after the LoggerHook, which writes what is read here

    def __init__(self):
        self._resumed_at = 0
        self._warned = False

    def before_train(self, runner: Runner) -> None:
        self._resumed_at = runner.iter

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        self._write(runner)

    def after_train(self, runner: Runner) -> None:
        self._write(runner)

    @master_only
    def _write(self, runner: Runner) -> None:
        try:
            draw(
                collect(self._records(runner)),
                os.path.join(runner.work_dir, FILE_NAME),
                title=runner.experiment_name,
                epoch_steps=_epoch_steps(runner),
            )
        except Exception as error:  # whatever goes wrong with a picture, training is worth more
            if not self._warned:
                runner.logger.warning(f"{FILE_NAME} cannot be drawn: {type(error).__name__}: {error}", exc_info=True)
            self._warned = True

    def _records(self, runner: Runner) -> list[Record]:
        log = Path(runner.log_dir, _SCALARS)
        if not log.is_file():
            raise FileNotFoundError(f"nothing was logged to {log}, which mmengine's LocalVisBackend writes")
        earlier = []
        if self._resumed_at:
            checkpoint = runner.cfg.get("load_from")
            folder = os.path.dirname(os.path.abspath(checkpoint)) if checkpoint else runner.work_dir
            earlier = read_earlier_runs(Path(folder), log, self._resumed_at)
        return earlier + read_log(log)


def _epoch_steps(runner: Runner) -> int | None:
    """Iterations an epoch, where training is counted in epochs."""
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    return len(runner.train_dataloader) if by_epoch else None


def read_log(path: Path) -> list[Record]:
    """The lines of one run's ``scalars.json``, in their order.

    A validation that was logged by epoch is put at the last training line before it.
    """
    records, step = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:  # the end of a run that was killed, or of a full disk
            continue
        training = "iter" in entry
        step = entry["iter"] if training else max(step, entry["step"])
        scalars = {_PHASE.sub("", name): value for name, value in entry.items() if _is_number(value)}
        records.append(Record(step, training, scalars))
    return records


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def read_earlier_runs(folder: Path, current: Path, resumed_at: int) -> list[Record]:
    """What the runs logged that led to a resumed one, up to the step it goes on from.

    Args:
        folder: work dir of the earlier runs.
        current: log of the resumed run itself.
        resumed_at: training iterations of the checkpoint. What an earlier run did after them was done anew.
    """
    records: list[Record] = []
    for log in sorted(folder.glob(f"*/{_SCALARS}"), reverse=True):  # run folders are named by their start
        if log.resolve() == current.resolve():
            continue
        kept = [record for record in read_log(log) if record.step <= resumed_at]
        if kept:  # older runs count only up to where this one set in
            records = kept + records
            resumed_at = kept[0].step - 1
    return records


def collect(records: Iterable[Record]) -> Curves:
    """Sort logged lines into curves."""
    curves = Curves()
    for record in records:
        for name, value in record.scalars.items():
            metric = _METRICS.get(name.rpartition("/")[2])
            if not record.training:
                if metric:
                    _append(curves.metrics, metric[0], record.step, value * metric[1])
            elif "loss" in name and not _INTERMEDIATE.search(name):
                _append(curves.losses, name, record.step, value)
            # Layer-wise decay scales each group's rate; the base rate is the schedule's.
            elif name == "base_lr" or (name == "lr" and "base_lr" not in record.scalars):
                _append(curves.rates, name, record.step, value)
    return curves


def _append(curves: dict[str, Series], name: str, step: int, value: float) -> None:
    steps, values = curves.setdefault(name, ([], []))
    steps.append(step)
    values.append(value)


def draw(curves: Curves, path: str, title: str, epoch_steps: int | None = None) -> None:
    """Write the curves to ``path`` as a PNG, which is replaced as a whole or not at all. The legend has last values.

    Args:
        curves: what to draw; a kind that is empty gets no panel.
        path: of the picture.
        title: above it.
        epoch_steps: iterations an epoch, for a second scale in epochs.

    Raises:
        ValueError: there is nothing to draw.
    """
    from matplotlib.figure import Figure  # costs half a second, and may be broken: then only the picture is

    panels = [
        ("loss", curves.losses, 3),
        ("validation metric (%)", curves.metrics, 2),
        ("learning rate", curves.rates, 1),
    ]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        raise ValueError("no loss, learning rate or known metric has been logged yet")
    figure = Figure(figsize=(10, 1 + 1.6 * sum(height for *_, height in panels)), dpi=120, layout="constrained")
    figure.suptitle(title)
    heights = [height for *_, height in panels]
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, gridspec_kw=dict(height_ratios=heights))[:, 0]
    for axes, (label, series, _) in zip(rows, panels, strict=True):
        _draw_panel(axes, label, series)
    rows[-1].set_xlabel("training iteration")
    if epoch_steps:
        scale = rows[0].secondary_xaxis("top", functions=(lambda x: x / epoch_steps, lambda x: x * epoch_steps))
        scale.set_xlabel("epoch")
    aside = f"{path}.part"
    figure.savefig(aside, format="png")
    os.replace(aside, path)


def _draw_panel(axes: Any, label: str, series: Mapping[str, Series]) -> None:
    from cycler import cycler
    from matplotlib import colormaps

    axes.set_prop_cycle(cycler(linestyle=["-", "--", ":"]) * cycler(color=colormaps["tab10"].colors))
    for name, (steps, values) in series.items():
        style = dict(color="black", linewidth=1.6) if name == "loss" else dict(linewidth=1.1)
        marker = "o" if len(steps) <= 40 else None  # a curve of one point would not be seen
        axes.plot(steps, values, label=f"{name}  {values[-1]:.4g}", marker=marker, markersize=3, **style)
    axes.set_ylabel(label)
    if label != "loss":
        axes.ticklabel_format(axis="y", scilimits=(-3, 4))
    elif not any(value <= 0 for _, values in series.values() for value in values):
        axes.set_yscale("log")  # terms lie decades apart
    axes.grid(alpha=0.3)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
