"""Time and memory against pixels, all models in one picture."""

from collections.abc import Sequence
from pathlib import Path

from ..files import file_written_aside
from .session import Row

_GIB = 2**30


def draw(rows: Sequence[Row], path: Path) -> None:
    """Writes a PNG of milliseconds and peak GiB an image, both axes logarithmic, a line for each model and mode.

    Raises:
        ModuleNotFoundError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 5), dpi=120, layout="constrained")
    time_axes, memory_axes = figure.subplots(1, 2)
    for label, series in _series(rows).items():
        pixels = [row.workload.size[0] * row.workload.size[1] for row in series]
        batch = series[0].workload.batch
        time_axes.plot(pixels, [row.median * 1e3 / batch for row in series], marker="o", label=label)
        memory_axes.plot(pixels, [row.peak_memory / _GIB for row in series], marker="o", label=label)
    time_axes.set_ylabel("ms an image")
    memory_axes.set_ylabel("peak memory, GiB")
    for axes in (time_axes, memory_axes):
        axes.set(xscale="log", yscale="log", xlabel="pixels an image")
        axes.grid(alpha=0.3, which="both")
    handles, labels = time_axes.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", fontsize="small", frameon=False, ncols=2)
    with file_written_aside(path) as partial:
        figure.savefig(partial, format="png")


def _series(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Rows with speed and memory, by model and way of running, in ascending size."""
    series: dict[str, list[Row]] = {}
    for row in rows:
        if row.peak_memory:
            work = row.workload
            name = str(row.model.at_any_size())
            maps = ", maps" if work.features else ""
            series.setdefault(f"{name}, {work.mode}, {work.dtype}, batch {work.batch}{maps}", []).append(row)
    return {
        name: sorted(found, key=lambda r: r.workload.size[0] * r.workload.size[1]) for name, found in series.items()
    }
