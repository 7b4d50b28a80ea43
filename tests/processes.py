"""Processes for tests, forked: they need not import everything again."""

import multiprocessing
import os
import socket
from collections.abc import Callable


def start(action: Callable[[], object], **variables: str) -> multiprocessing.Process:
    """Run ``action`` without a GPU in a process group of its own, data workers included."""

    def run_alone():
        os.setsid()
        os.environ.update(CUDA_VISIBLE_DEVICES="", **variables)
        action()

    process = multiprocessing.get_context("fork").Process(target=run_alone)
    process.start()
    return process


def run_processes(action: Callable[[], object], count: int) -> list[int]:
    """Run ``action`` in ``count`` processes that torch can join, as torchrun starts them; their exit codes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    place = dict(WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    processes = [start(action, RANK=str(rank), LOCAL_RANK=str(rank), **place) for rank in range(count)]
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]
