"""Several processes: what the launcher must have set, and training without a GPU."""

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from multiprocessing import util
from typing import Any

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from torch import distributed
from torch.utils.data import DataLoader

from ...errors import InputError
from ..config.launchers import LAUNCHERS

_SYNC_BN = ("SyncBN", "MMSyncBN")

_logger = logging.getLogger(__name__)


def prepare_launch(cfg: Config, launcher: str) -> None:
    """Set the launcher in ``cfg``; without a GPU, have the processes work together over gloo.

    Raises:
        InputError: the environment is not the launcher's; slurm or mpi without a GPU.
    """
    cfg.launcher = launcher
    if launcher == "none":
        return
    variables, command = LAUNCHERS[launcher]
    absent = [name for name in variables if name not in os.environ]
    if absent:
        raise InputError(
            f"--launcher {launcher} finds no {', '.join(absent)} in the environment. Start the processes "
            f"with: {command} tools/... --launcher {launcher}"
        )
    if "TORCHELASTIC_RUN_ID" in os.environ:
        _end_with_parent(signal.SIGTERM)  # torchrun's: a checkpoint is saved
    if get_device() != "cpu":
        return
    if launcher != "pytorch":
        raise InputError(f"--launcher {launcher} needs a GPU a process. Without GPUs use --launcher pytorch.")
    # mmengine names a GPU for each process; None is DistributedDataParallel's word for the CPU.
    cfg.model_wrapper_cfg = ConfigDict(
        type="MMDistributedDataParallel",
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=cfg.get("find_unused_parameters", False),
    )
    # A single process needs no such help: there the Runner itself puts BatchNorm in the place of SyncBN.
    if _use_batch_norm(cfg.get("model")):
        _logger.warning(
            "SyncBN needs a GPU: BatchNorm takes its place, and each process sees its own images' statistics."
        )


def _use_batch_norm(part: Any) -> int:
    """Put BatchNorm in the place of every SyncBN layer of a model's config; how many entries that changed."""
    if isinstance(part, list | tuple):
        return sum(_use_batch_norm(item) for item in part)
    if not isinstance(part, dict):
        return 0
    synchronized = part.get("type") in _SYNC_BN
    if synchronized:
        part["type"] = "BN"
    return synchronized + sum(_use_batch_norm(value) for value in part.values())


def init_cpu_group(launcher: str) -> None:
    """Join the processes over gloo where there is no GPU; mmengine's own way always selects one."""
    if launcher == "pytorch" and get_device() == "cpu" and not distributed.is_initialized():
        distributed.init_process_group("gloo")


_PR_SET_PDEATHSIG = 1  # of linux/prctl.h


def _end_with_parent(number: int) -> None:
    """Have the system send this process a signal when its parent dies, however it does. Does nothing but on Linux."""
    if sys.platform != "linux":
        return
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:  # it died meanwhile
        os.kill(os.getpid(), number)


def begin_worker(inner: Callable[[int], None] | None, worker: int) -> None:
    """``worker_init_fn`` of a data loader whose workers end with their process, and not before it.

    torchrun and cluster managers send SIGTERM to all processes. The training process still needs batches until the
    step under way is done, so a worker obeys the second SIGTERM only: the loader sends it its own.

    Args:
        inner: the loader's own function.
        worker: number of the worker.
    """
    _end_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    if inner is not None:
        inner(worker)


def keep_workers(loader: DataLoader) -> None:
    """Have a loader's workers begin by :func:`begin_worker`, and be killed when this process ends.

    Persistent ones may be alive then. multiprocessing sends them one SIGTERM and waits for their end, which would be
    for ever.
    """
    loader.worker_init_fn = partial(begin_worker, loader.worker_init_fn)
    util.Finalize(None, _kill_workers, exitpriority=0)


def _kill_workers() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch's handler would call it a worker's failure
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


_GRACE_SECONDS = 30.0  # what torchrun too gives a process to end after SIGTERM
_FAILED = "maxvit_dense/failed"  # in the store that the processes share
_POLL_SECONDS = 1.0


@contextmanager
def stopping_together() -> Iterator[None]:
    """Where one of several processes fails, the others end within seconds, saying whose failure ended them.

    A process that waits for another's gradients hears nothing but the time-out of its backend, minutes later. So the
    failing one leaves word in the store through which they found each other, and a thread of each looks there. If the
    process that holds the store has died, that is word enough.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        yield
        return
    store, rank, done = distributed.distributed_c10d._get_default_store(), distributed.get_rank(), threading.Event()
    watcher = threading.Thread(target=_watch, args=(store, rank, done, os.getppid()), daemon=True)
    watcher.start()
    try:
        yield
    except Exception:
        store.set(_FAILED, str(rank))
        raise
    finally:
        done.set()
        watcher.join()


def _watch(store: distributed.Store, rank: int, done: threading.Event, launcher: int) -> None:
    while not done.wait(_POLL_SECONDS):
        try:
            culprit = store.get(_FAILED).decode() if store.check([_FAILED]) else None
        except RuntimeError:  # nobody answers
            culprit = "that began the run"
        if culprit is not None and os.getppid() != launcher:
            done.wait(_GRACE_SECONDS)  # the launcher has died, and the store with it: a checkpoint is being saved
        if culprit is not None and not done.is_set():
            print(f"rank {rank}: stopped, because the process of rank {culprit} failed", file=sys.stderr, flush=True)
            os._exit(1)  # the main thread may wait for a collective operation, out of Python's reach
