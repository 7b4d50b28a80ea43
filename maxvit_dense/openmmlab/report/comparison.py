"""Curves of several runs in one picture: a column for each kind of task, the loss above the metric."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ...files import file_written_aside
from ...work_dir import run_logs
from .curves import LOSSES, METRICS, Curve, curves_of, line_style

# The one that decides in each field, by the names of ``curves_of``; of a detector with masks that of the masks.
_DECIDING = ("segm_mAP", "bbox_mAP", "mIoU", "top1")
_RunCurves = Mapping[str, tuple[Curve, Curve]]  # loss and metric by the run's name


def compare(work_dirs: Sequence[Path], path: Path) -> None:
    """Draws the total loss and the deciding metric of each run; its colour is the same in both, and of its name.

    Args:
        work_dirs: of runs that were validated at least once; the legend names them below the folder that all share.
        path: the picture, .png or another suffix that matplotlib knows.

    Raises:
        InputError: a folder holds no log of such a run.
    """
    from matplotlib.figure import Figure

    columns: dict[str, dict[str, tuple[Curve, Curve]]] = defaultdict(dict)
    shared = os.path.commonpath([work_dir.resolve().parent for work_dir in work_dirs])
    for work_dir in work_dirs:
        metric, curves = _deciding(work_dir)
        columns[metric][str(work_dir.resolve().relative_to(shared))] = curves
    figure = Figure(figsize=(6 * len(columns), 8), dpi=100, layout="constrained")
    grid = figure.subplots(2, len(columns), sharex="col", squeeze=False)
    for (above, below), (metric, runs) in zip(grid.T, columns.items(), strict=True):
        _draw_column(above, below, metric, runs)
    with file_written_aside(path) as partial:
        figure.savefig(partial, format=path.suffix.lstrip(".").lower() or "png")


def _deciding(work_dir: Path) -> tuple[str, tuple[Curve, Curve]]:
    panels = curves_of(run_logs(work_dir))
    losses, metrics = panels.get(LOSSES, {}), panels.get(METRICS, {})
    metric = next((name for name in _DECIDING if name in metrics), None)
    if metric is None or "loss" not in losses:
        raise InputError(
            f"{work_dir} has no log of a training that was validated: no */vis_data/scalars.json with a loss and one "
            f"of {', '.join(_DECIDING)}. Give the work dirs of finished runs."
        )
    return metric, (losses["loss"], metrics[metric])


def _draw_column(above, below, metric: str, runs: _RunCurves) -> None:
    for i, (name, (loss, values)) in enumerate(sorted(runs.items())):
        above.plot(*zip(*loss, strict=True), **line_style(i))
        below.plot(*zip(*values, strict=True), label=f"{name}  {values[-1][1]:.1f}", marker=".", **line_style(i))
    above.set_ylabel("training loss")
    below.set_ylabel(f"{metric} of validation (%)")
    below.set_xlabel("training iteration")
    below.legend(fontsize="small", frameon=False)
    for axes in (above, below):
        axes.grid(alpha=0.3)
