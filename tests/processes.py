"""Processes for tests, forked: they need not import everything again."""

import multiprocessing
import os
import time
from collections.abc import Callable

from torch.distributed import TCPStore


def start(action: Callable[[], object], **variables: str) -> multiprocessing.Process:
    """Run ``action`` without a GPU in a process group of its own, data workers included."""

    def run_alone():
        os.setsid()
        os.environ.update(CUDA_VISIBLE_DEVICES="", **variables)
        action()

    process = multiprocessing.get_context("fork").Process(target=run_alone)
    process.start()
    return process


def run_processes(action: Callable[[], object], count: int, terminate_after: float | None = None) -> list[int]:
    """Run ``action`` in ``count`` processes that torch can join, as torchrun starts them; their exit codes.

    After ``terminate_after`` seconds, all that still run get SIGTERM.

    As torchrun does, the parent holds the store: a port that rank 0 opens may be another test's by then.
    """
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    place = dict(WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(store.port))
    place |= dict(TORCHELASTIC_USE_AGENT_STORE="True", TORCHELASTIC_RESTART_COUNT="0")
    processes = [start(action, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(count)]
    try:
        if terminate_after is not None:
            time.sleep(terminate_after)
            for process in processes:
                process.terminate()
        for process in processes:
            process.join()
        return [process.exitcode for process in processes]
    finally:
        for process in processes:  # one that hangs would outlive the time limit of its test
            process.kill()
