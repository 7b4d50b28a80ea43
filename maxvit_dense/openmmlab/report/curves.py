"""Training curves: losses, validation metrics and learning rate of a run, drawn into its work dir."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ...files import file_written_aside
from ...work_dir import Scalars, is_training, run_logs

FILE_NAME = "curves.png"
LOSSES, METRICS, RATES = "loss", "validation metric (%)", "learning rate"  # panels

_METRIC = re.compile(r"((bbox|segm)_mAP(_50)?|mIoU|mAcc|aAcc|top1|top5)$")
# A loss, but not of an intermediate layer: DETR-like heads repeat each for every decoder layer (d0.loss_cls).
_LOSS = re.compile(r"(?!(.*\.)?d\d+\.).*loss")

Curve = list[tuple[int, float]]  # training iteration, value


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
class CurvesHook(SideOutputHook):
    """Draw ``curves.png`` into the work dir after each validation and at the end of training.

    A resumed run's curves begin with those of the runs before it in that work dir. A picture that cannot be drawn is
    warned of once, and training goes on.
    """

    priority = "LOWEST"  # after the LoggerHook, which writes what is read here

    def after_val_epoch(self, runner: Runner, metrics: Mapping[str, float] | None = None) -> None:
        self._draw(runner)

    def after_train(self, runner: Runner) -> None:
        self._draw(runner)

    @master_only
    def _draw(self, runner: Runner) -> None:
        with self.without_stopping(runner, f"{FILE_NAME} cannot be drawn"):
            work_dir = Path(runner.work_dir)
            draw(curves_of(run_logs(work_dir)), work_dir / FILE_NAME, title=runner.experiment_name)


def curves_of(runs: list[list[Scalars]]) -> dict[str, dict[str, Curve]]:
    """Curves by panel and name, of the logged lines of each run; metrics are in percent."""
    losses, metrics, rates = defaultdict(list), defaultdict(list), defaultdict(list)
    for step, line in _joined(runs):
        for name, value in line.items():
            metric = _METRIC.search(name)
            if is_training(line) and _LOSS.match(name):
                losses[name].append((step, value))
            elif metric and not is_training(line):
                metrics[metric[0]].append((step, value * 100 if "mAP" in name else value))
        # Layer-wise decay scales each group's rate; the base rate is the schedule's.
        rate = line.get("base_lr", line.get("lr"))
        if is_training(line) and rate is not None:
            rates["learning rate"].append((step, rate))
    panels = {LOSSES: losses, METRICS: metrics, RATES: rates}
    return {panel: dict(curves) for panel, curves in panels.items() if curves}


def _joined(runs: list[list[Scalars]]) -> list[tuple[int, Scalars]]:
    """Lines with their training iterations. What a later run did anew takes the place of what was there."""
    kept: list[tuple[int, Scalars]] = []
    for run in runs:
        step, lines = 0, []
        for line in run:
            # A validation that was logged by epoch is put at the last training line before it.
            step = int(line["iter"] if is_training(line) else max(step, line.get("step", 0)))
            lines.append((step, line))
        kept = [entry for entry in kept if not lines or entry[0] < lines[0][0]] + lines
    return kept


def line_style(i: int) -> dict[str, str]:
    """Of the i-th curve of a picture; 30 are told apart."""
    return dict(color=f"C{i % 10}", linestyle=("-", "--", ":")[i // 10 % 3])


def draw(panels: Mapping[str, Mapping[str, Curve]], path: Path, title: str) -> None:
    """Write the curves to ``path`` as a PNG; the legend has their last values.

    Raises:
        ValueError: there is nothing to draw.
    """
    from matplotlib.figure import Figure  # costs half a second, and may be broken: then only the picture is

    if not panels:
        raise ValueError("no loss, learning rate or known metric was logged; mmengine's LocalVisBackend does it")
    heights = [3 if panel == LOSSES else 2 for panel in panels]
    figure = Figure(figsize=(10, 1 + 1.6 * sum(heights)), dpi=120, layout="constrained")
    figure.suptitle(title)
    rows = figure.subplots(len(panels), 1, sharex=True, squeeze=False, height_ratios=heights)[:, 0]
    for axes, (panel, curves) in zip(rows, panels.items(), strict=True):
        for i, (name, curve) in enumerate(curves.items()):
            steps, values = zip(*curve, strict=True)
            style = line_style(i) | (dict(color="black") if name == "loss" else {})
            axes.plot(steps, values, label=f"{name}  {values[-1]:.4g}", marker=".", markersize=3, **style)
        if panel == LOSSES and not any(value <= 0 for curve in curves.values() for _, value in curve):
            axes.set_yscale("log")  # terms lie decades apart
        axes.set_ylabel(panel)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize="small", frameon=False)
    rows[-1].set_xlabel("training iteration")
    with file_written_aside(path) as partial:
        figure.savefig(partial, format="png")
