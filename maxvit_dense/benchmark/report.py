"""Rows as a table for people, as CSV and JSON for programs, and what follows from them: ratios and exponents."""

import csv
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..files import file_written_aside
from .session import Row
from .specs import Goal, Group, size_text

_NONE = "-"
_GIB = 2**30
EXPONENT_BOUND = 1.03
COMPILATIONS_BOUND = 3
_HEAD = ("model", "size", "batch", "images/s", "ms", "spread", "peak GiB", "of matmul", "of bandwidth", "error", "n")


@dataclass(frozen=True)
class Ratio:
    """A goal beside what was measured; ``value`` is None where a row has no speed."""

    group: str
    goal: Goal
    value: float | None

    @property
    def reached(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.goal.bound if self.goal.at_most else self.value >= self.goal.bound

    def line(self) -> str:
        goal = self.goal
        value = _NONE if self.value is None else f"{self.value:.2f}"
        against = f"{goal.model} / {goal.against}" if goal.against else goal.model
        bound = f"at {'most' if goal.at_most else 'least'} {goal.bound:g}"
        return f"{value:>6}  {bound:<14} {'reached' if self.reached else 'NOT REACHED':<12} {goal.figure}: {against}"


@dataclass(frozen=True)
class Exponent:
    """Growth of a model's time and memory with pixels, fitted over its sizes."""

    model: str
    sizes: tuple[str, ...]
    time: float
    memory: float


def fitted_exponent(pixels: Sequence[float], values: Sequence[float]) -> float:
    """Exponent p of values = c * pixels ** p, by least squares on logarithms."""
    x, y = [math.log(v) for v in pixels], [math.log(v) for v in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return slope / sum((a - mean_x) ** 2 for a in x)


def ratios(groups: Iterable[Group], rows: Iterable[Row]) -> list[Ratio]:
    """Every goal of the groups with its measured figure."""
    found = {(row.group, row.text): row for row in rows}
    return [
        Ratio(group.title, goal, _ratio(goal, found[group.title, goal.model], found.get((group.title, goal.against))))
        for group in groups
        for goal in group.goals
        if (group.title, goal.model) in found
    ]


def _ratio(goal: Goal, row: Row, against: Row | None) -> float | None:
    figure = dict(speed="images_per_second", memory="peak_memory").get(goal.figure, "peak_share")
    ours = getattr(row, figure)
    if goal.against is None:
        return ours
    theirs = getattr(against, figure) if against else None
    return ours / theirs if ours is not None and theirs else None


def exponents(rows: Iterable[Row]) -> list[Exponent]:
    """Of every model that was measured at three sizes or more, other things equal."""
    series: dict[tuple, list[Row]] = {}
    for row in rows:
        work = row.workload
        if row.seconds and not row.steps:
            series.setdefault((row.text, work.mode, work.batch, work.dtype, work.features, work.device), []).append(row)
    fitted = []
    for (text, *_), group in series.items():
        pixels = [row.workload.size[0] * row.workload.size[1] for row in group]
        if len(set(pixels)) >= 3:
            time = fitted_exponent(pixels, [row.median for row in group])
            memory = fitted_exponent(pixels, [row.peak_memory for row in group])
            sizes = tuple(size_text(row.workload.size) for row in group)
            fitted.append(Exponent(f"{text}, {group[0].workload.mode}", sizes, time, memory))
    return fitted


def _cells(row: Row) -> tuple[str, ...]:
    def number(value: float | None, digits: str) -> str:
        return _NONE if value is None else format(value, digits)

    spread = f"{min(row.seconds) * 1e3:.1f}-{max(row.seconds) * 1e3:.1f}" if len(row.seconds) > 1 else _NONE
    return (
        row.text,
        size_text(row.workload.size),
        str(row.workload.batch),
        number(row.images_per_second, ".3g"),
        number(row.median and row.median * 1e3, ".1f"),
        spread,
        number(row.peak_memory and row.peak_memory / _GIB, ".2f"),
        number(row.peak_share, ".0%"),
        number(row.bandwidth_share, ".0%"),
        number(row.error, ".1e"),
        str(row.steps or len(row.seconds)),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows, group by group, with the machine's rates in each group."""
    cells = [_cells(row) for row in rows]
    widths = [max(map(len, column)) for column in zip(_HEAD, *cells, strict=True)]
    lines, group = [], None
    for row, row_cells in zip(rows, cells, strict=True):
        if row.group != group:
            group = row.group
            lines += ["", _group_line(group, [r for r in rows if r.group == group]), _aligned(_HEAD, widths)]
        lines.append(_aligned(row_cells, widths))
        if row.problem:
            lines.append(f"    {row.problem}")
        if row.steps and not row.problem:
            few = "reached" if row.compilations <= COMPILATIONS_BOUND else "NOT REACHED"
            lines.append(f"    {row.compilations} compilations, at most {COMPILATIONS_BOUND}: {few}")
    return "\n".join(lines[1:])


def _group_line(title: str, rows: Sequence[Row]) -> str:
    rates = {row.workload.dtype: (row.flop_rate, row.byte_rate) for row in rows if row.flop_rate}
    told = [f"{dtype} matmul {f / 1e9:.0f} GFLOP/s, copy {b / 1e9:.1f} GB/s" for dtype, (f, b) in rates.items()]
    return "; ".join([title, *told])


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *rest = (cell.rjust(width) for cell, width in zip(cells, widths, strict=True))
    return "  ".join([cells[0].ljust(widths[0]), *rest])


def summary(groups: Sequence[Group], rows: Sequence[Row]) -> str:
    """Goals and exponents, every one of them, reached or not."""
    lines, title = [], None
    for ratio in ratios(groups, rows):
        if ratio.group != title:
            title = ratio.group
            lines += ["", title]
        lines.append(ratio.line())
    fitted = exponents(rows)
    if fitted:
        lines += ["", f"Exponents of cost against pixels (at most {EXPONENT_BOUND} wanted)"]
    for e in fitted:
        verdict = "reached" if max(e.time, e.memory) <= EXPONENT_BOUND else "NOT REACHED"
        lines.append(f"{e.model}, {e.sizes[0]} to {e.sizes[-1]}: time {e.time:.3f}, memory {e.memory:.3f}  {verdict}")
    return "\n".join(lines[1:])


def _record(row: Row) -> dict:
    work = row.workload
    return dict(
        group=row.group,
        model=row.text,
        mode=work.mode,
        device=work.device,
        dtype=work.dtype,
        batch=work.batch,
        height=work.size[0],
        width=work.size[1],
        features=work.features,
        problem=row.problem,
        reference=row.reference,
        error=row.error,
        tolerance=row.tolerance,
        images_per_second=row.images_per_second,
        median_ms=row.median and row.median * 1e3,
        fastest_ms=min(row.seconds) * 1e3 if row.seconds else None,
        slowest_ms=max(row.seconds) * 1e3 if row.seconds else None,
        repetitions=len(row.seconds),
        peak_memory_bytes=row.peak_memory,
        weight_bytes=row.weight_bytes,
        gflops=row.flops and row.flops / 1e9,
        machine_gflops_per_second=row.flop_rate and row.flop_rate / 1e9,
        machine_copy_gbytes_per_second=row.byte_rate and row.byte_rate / 1e9,
        share_of_matmul=row.peak_share,
        share_of_bandwidth=row.bandwidth_share,
        first_call_seconds=row.first_call,
        random_sizes=row.steps,
        compilations=row.compilations,
    )


def write_csv(rows: Sequence[Row], path: Path) -> None:
    """One line a row; empty where there is no figure."""
    records = [_record(row) for row in rows]
    with file_written_aside(path) as partial, open(partial, "w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(records[0]))
        writer.writeheader()
        writer.writerows(records)


def write_json(groups: Sequence[Group], rows: Sequence[Row], machine: dict, command: str, path: Path) -> None:
    """Everything: the machine, the command, rows with each repetition, goals, exponents."""
    content = dict(
        command=command,
        machine=machine,
        rows=[_record(row) | dict(seconds=row.seconds) for row in rows],
        goals=[
            asdict(ratio.goal) | dict(group=ratio.group, value=ratio.value, reached=ratio.reached)
            for ratio in ratios(groups, rows)
        ],
        exponents=[asdict(exponent) for exponent in exponents(rows)],
    )
    with file_written_aside(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
