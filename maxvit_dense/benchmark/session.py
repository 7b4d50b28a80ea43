"""Rows side by side: one process each, one repetition in turn, so that a machine that drifts does so for all."""

import multiprocessing
import os
import platform
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime, timezone

import timm
import torch
import torchvision

from ..errors import InputError
from . import worker
from .rows import Group, Row

_HEAD = ("network", "images/s", "ms", "spread", "peak GiB")


@dataclass
class Result:
    """What was measured of a row.

    Attributes:
        seconds: of a call, one entry a repetition.
        peak: memory of a call in bytes, weights included.
        problem: why there are no figures.
    """

    network: str
    row: Row
    seconds: list[float] = field(default_factory=list)
    peak: int | None = None
    problem: str = ""

    def cells(self) -> tuple[str, ...]:
        if self.problem:
            return (self.network, f"failed: {self.problem}", "", "", "")
        median = statistics.median(self.seconds)
        spread = f"{min(self.seconds) * 1e3:.1f}-{max(self.seconds) * 1e3:.1f}"
        speed = f"{self.row.batch / median:.3g}"
        return self.network, speed, f"{median * 1e3:.1f}", spread, f"{self.peak / 2**30:.2f}"


def check(groups: list[Group], counted: bool = False) -> None:
    """Says what cannot be measured, or counted, before anything runs.

    Raises:
        InputError: see ``rows.parse_row``; a network that does not exist; a GPU that is not there.
    """
    known = dict(ours=timm.is_model, timm=timm.is_model, torchvision=torchvision.models.list_models().__contains__)
    for row in (row for group in groups for row in group.rows):
        if not known[row.source](row.name):
            raise InputError(f"{row.text!r}: there is no network {row.name!r}; see timm.list_models() or torchvision's")
        if counted and "compile" in row.flags:
            raise InputError(f"{row.text!r}: operators are counted as they are called; leave out compile")
        if "cuda" in row.flags and not counted and not torch.cuda.is_available():
            raise InputError(f"{row.text!r}: PyTorch sees no CUDA device here; leave out cuda")


def measure(group: Group, threads: int | None, tell: Callable[[str], None]) -> list[Result]:
    """Measures a group; a row that fails has a result that says so."""
    tell(group.work)
    results = [Result(*pair) for pair in zip(group.networks, group.rows, strict=True)]
    # Processes are forked from a server that has imported everything and computed nothing: PyTorch's threads and
    # CUDA's context do not survive a fork, and an import takes as long as many a measurement.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([worker.__name__])
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, mp_context=context)) for _ in results]
        for result, pool in zip(results, pools, strict=True):
            tell(f"  {result.network}")
            result.peak = _call(result, pool, worker.start, result.row, threads)
        for _ in range(group.repetitions):
            for result, pool in zip(results, pools, strict=True):
                if not result.problem:
                    result.seconds.append(_call(result, pool, worker.repeat))
    return results


def _call(result: Result, pool: ProcessPoolExecutor, *task):
    try:
        return pool.submit(*task).result()
    except Exception as error:  # a network may fail in any way, or its process be killed for want of memory
        result.problem = f"{type(error).__name__}: {error}".splitlines()[0]
        return None


def machine(threads: int | None) -> dict[str, str | int | None]:
    """Names and versions that figures depend on."""
    with open("/proc/cpuinfo", encoding="utf-8") as stream:
        names = [line.partition(":")[2].strip() for line in stream if line.startswith("model name")]
    return dict(
        processor=next(iter(names), platform.machine()),
        cores=len(os.sched_getaffinity(0)),
        threads=threads or torch.get_num_threads(),
        load=round(os.getloadavg()[0], 2),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        timm=timm.__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def table(group: Group, results: list[Result]) -> str:
    """A group as a Markdown table."""
    rows = [_HEAD, ("---",) * len(_HEAD), *(result.cells() for result in results)]
    return "\n".join([f"{group.work}:", "", *(f"| {' | '.join(cells)} |" for cells in rows), ""])
