"""Workers in processes of their own, which wait at a pipe without using the processor until they are called."""

import multiprocessing
import os
import traceback
from collections.abc import Callable
from typing import Any

# Errors of building or running a network are a row's own; so that others still can be measured all are caught there.
_TRACE = "MAXVIT_BENCHMARK_TRACE"


class WorkerFailed(RuntimeError):
    """What went wrong in a worker, in one line."""


def _serve(pipe, make: Callable[[], Any]) -> None:
    worker = None
    while (command := pipe.recv()) is not None:
        method, arguments = command
        try:
            worker = worker or make()
            pipe.send((True, getattr(worker, method)(*arguments)))
        except Exception as error:  # a model may fail in any way; the report says how
            if os.environ.get(_TRACE):
                traceback.print_exc()
            lines = f"{type(error).__name__}: {error}".splitlines()
            pipe.send((False, lines[0]))


class WorkerProcess:
    """A worker that ``make`` makes in a new process, called by method name.

    Processes are forked from a server that has imported everything and computed nothing: PyTorch's threads and CUDA's
    context do not survive a fork, and an import takes as long as many a measurement.
    """

    def __init__(self, make: Callable[[], Any]):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["maxvit_dense.benchmark.worker", "maxvit_dense.benchmark.machine"])
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=False)
        self._process.start()
        theirs.close()

    def call(self, method: str, *arguments: Any) -> Any:
        """What the worker's method returns.

        Raises:
            WorkerFailed: it raised, or the process ended, out of memory for example.
        """
        try:
            self._pipe.send((method, arguments))
            done, result = self._pipe.recv()
        except (EOFError, OSError) as error:
            self._process.join()
            code = self._process.exitcode
            cause = "killed, most likely for want of memory" if code == -9 else f"exit code {code}"
            raise WorkerFailed(f"its process ended: {cause}") from error
        if not done:
            raise WorkerFailed(result)
        return result

    def close(self) -> None:
        """Ends the process."""
        try:
            self._pipe.send(None)
        except OSError:
            pass
        self._process.join(10)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._pipe.close()
