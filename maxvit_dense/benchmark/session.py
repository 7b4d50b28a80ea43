"""A run of groups: workers started, compared with references, timed in turns, results as rows."""

import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import Lock

from ..errors import InputError
from . import machine, networks
from .processes import WorkerFailed, WorkerProcess
from .specs import Group, Model, Workload, parse_model
from .worker import Worker

Tell = Callable[[str], None]


@dataclass
class Row:
    """What was measured of one model in one group.

    Attributes:
        group: title of the group.
        text: the model as the group names it.
        model: the model, parsed.
        workload: with the model's own size and dtype in place.
        reference: whose results its own were compared with.
        problem: why there is no speed; "" if there is one.
        error, tolerance: largest difference from the reference, in units of the largest value.
        seconds: of one call, one entry a repetition.
        memory: peak bytes of the worker's first call (compiled: its second) above those at rest.
        weight_bytes: parameters and buffers.
        flops, least_bytes: of one call, see `counting.Work`.
        flop_rate, byte_rate: of the machine, medians of the group.
        compilations, steps: of random sizes.
    """

    group: str
    text: str
    model: Model
    workload: Workload
    reference: str
    problem: str = ""
    error: float | None = None
    tolerance: float | None = None
    seconds: list[float] = field(default_factory=list)
    memory: int | None = None
    first_call: float | None = None
    weight_bytes: int | None = None
    flops: int | None = None
    least_bytes: int | None = None
    flop_rate: float | None = None
    byte_rate: float | None = None
    compilations: int | None = None
    steps: int | None = None

    @property
    def median(self) -> float | None:
        """Seconds a call."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def images_per_second(self) -> float | None:
        return self.workload.batch / self.median if self.seconds else None

    @property
    def peak_memory(self) -> int | None:
        """Bytes: weights, and what a call needs beyond them; None where there is no speed, or sizes are random."""
        return self.weight_bytes + self.memory if self.seconds and self.memory is not None else None

    @property
    def peak_share(self) -> float | None:
        """Rate of operations over that of the machine's matrix product."""
        return self.flops / self.median / self.flop_rate if self.seconds and self.flop_rate else None

    @property
    def bandwidth_share(self) -> float | None:
        """Least traffic a second over the machine's copy; None in training, whose traffic is not counted."""
        known = self.seconds and self.byte_rate and self.least_bytes
        return self.least_bytes / self.median / self.byte_rate if known else None


def check_groups(groups: tuple[Group, ...]) -> None:
    """Says what is wrong with any of the groups before the first one runs.

    Raises:
        InputError: see `specs.parse_model` and `networks.check_model`; compilations to count where none takes place.
    """
    for group in groups:
        for text in [*group.models, *([group.reference] if group.reference else [])]:
            networks.check_model(parse_model(text), group.workload)
        for model in map(parse_model, group.models):
            if group.random_sizes and "compile" not in model.flags:
                compiled = replace(model, flags=model.flags | {"compile"})
                raise InputError(f"random sizes count compilations, and {model} is not compiled: give {compiled}")


def _is_reference(row: Row) -> bool:
    """Whether a row computes the very results that it is compared with."""
    own = networks.reference_of(row.model, row.workload.size)
    plain = row.workload.dtype == "fp32" and not row.model.flags
    return plain and own.source == row.model.source and str(own) == row.reference


class Session:
    """Runs groups one after another.

    Args:
        folder: for results of references, which groups share.
        threads: of PyTorch in each worker; None for its default.
        tell: receives a line of progress.
    """

    def __init__(self, folder: Path, threads: int | None = None, tell: Tell = lambda line: None):
        self.folder, self.threads, self.tell = folder, threads, tell
        self._references: dict[tuple, Path] = {}
        self._one_reference = Lock()  # at a time: of two that need the same, the second finds its file

    def run(self, group: Group) -> list[Row]:
        """Measures one group; a model that fails or differs has a row that says so."""
        self.tell(group.title)
        rows = [self._row(group, text) for text in group.models]
        # Those that are references come first: they write what others are compared with.
        rows_in_order = sorted(rows, key=lambda row: not _is_reference(row))
        # Half of a compilation has one thread.
        at_once = 2 if all("compile" in row.model.flags for row in rows) else 1
        with ExitStack() as stack:
            with ThreadPoolExecutor(at_once) as pool:
                started = list(pool.map(lambda row: self._started(stack, row, group), rows_in_order))
            workers = [(row, worker) for row, worker in zip(rows_in_order, started, strict=True) if worker]
            if not group.random_sizes:
                self._measure(group, workers)
        return rows

    def _row(self, group: Group, text: str) -> Row:
        model = parse_model(text)
        workload = group.workload.of(model)
        if group.reference:
            reference = parse_model(group.reference).plain()
        else:
            reference = networks.reference_of(model, workload.size)
        return Row(group.title, text, model, workload, str(reference))

    @contextmanager
    def _worker(self, model: Model, workload: Workload, reference: Model, path: Path) -> Iterator[WorkerProcess]:
        process = WorkerProcess(partial(Worker, model, workload, reference, path, self.threads))
        try:
            yield process
        finally:
            process.close()

    def _started(self, stack: ExitStack, row: Row, group: Group) -> WorkerProcess | None:
        """The prepared worker of a row, or None where the row has a problem."""
        reference = parse_model(row.reference)
        try:
            if group.random_sizes:
                self._random_sizes(row, reference, group.random_sizes)
                return None
            with self._one_reference:
                path = self._reference(row, reference)
            worker = stack.enter_context(self._worker(row.model, row.workload, reference, path))
            for name, value in worker.call("prepare").items():
                setattr(row, name, value)
        except WorkerFailed as error:
            row.problem = f"failed: {error}"
            self.tell(f"  {row.text}: {row.problem}")
            return None
        self._judge(row)
        self.tell(f"  {row.text}: {row.problem or f'equals {row.reference}, largest error {row.error:.1e}'}")
        return None if row.problem else worker

    @staticmethod
    def _judge(row: Row) -> None:
        if not row.error <= row.tolerance:
            row.problem = (
                f"outputs differ from {row.reference}: largest error {row.error:.1e}, allowed {row.tolerance:g}"
            )

    def _reference(self, row: Row, reference: Model) -> Path:
        """File of the reference's results, computed once a session, in a process that ends with it.

        A row that is the reference writes them itself, with its first call.
        """
        workload = replace(row.workload, dtype="fp32")
        key = (reference, workload)
        path = self._references.setdefault(key, self.folder / f"reference{len(self._references)}.pt")
        if not path.exists() and not _is_reference(row):
            with self._worker(reference, workload, reference, path) as worker:
                worker.call("write_reference")
        return path

    def _random_sizes(self, row: Row, reference: Model, steps: int) -> None:
        with self._worker(row.model, row.workload, reference, self.folder / "unused.pt") as worker:
            found = worker.call("random_sizes", steps)
        row.seconds, row.steps = found.pop("seconds"), steps
        for name, value in found.items():
            setattr(row, name, value)
        self._judge(row)
        if row.problem:
            row.seconds = []

    def _measure(self, group: Group, workers: list[tuple[Row, WorkerProcess]]) -> None:
        """Rounds of one repetition each, the machine's own rates among them; every round begins with another model."""
        if not workers:
            return
        dtypes = sorted({row.workload.dtype for row, _ in workers})
        with ExitStack() as stack:
            peaks = {dtype: self._peak_worker(stack, group.workload, dtype) for dtype in dtypes}
            rates: dict[str, list[dict]] = {dtype: [] for dtype in dtypes}
            started = time.monotonic()
            for done in range(group.repetitions):
                if done and group.seconds and time.monotonic() - started > group.seconds:
                    break
                for dtype, worker in peaks.items():
                    rates[dtype].append(worker.call("repeat"))
                for i in range(len(workers)):
                    self._repeat(*workers[(i + done) % len(workers)])
        for row, _ in workers:
            measured = rates[row.workload.dtype]
            row.flop_rate = statistics.median(rate["flop_rate"] for rate in measured)
            row.byte_rate = statistics.median(rate["byte_rate"] for rate in measured)

    def _peak_worker(self, stack: ExitStack, workload: Workload, dtype: str) -> WorkerProcess:
        worker = WorkerProcess(partial(machine.PeakWorker, replace(workload, dtype=dtype), self.threads))
        stack.callback(worker.close)
        worker.call("prepare")
        return worker

    def _repeat(self, row: Row, worker: WorkerProcess) -> None:
        if row.problem:
            return
        try:
            row.seconds.append(worker.call("repeat"))
        except WorkerFailed as error:
            row.problem = f"failed: {error}"
            row.seconds = []
