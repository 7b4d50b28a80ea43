"""How runs end: data workers with their process, ranks with torchrun or each other, two trainings of one work dir."""

import os
import signal
import sys
import time
from functools import partial
from multiprocessing import util
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

pytest.importorskip("mmengine")

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.files import remove_leftovers, written_aside  # noqa: E402
from maxvit_dense.openmmlab.engine.launch import begin_worker, keep_workers  # noqa: E402
from maxvit_dense.openmmlab.engine.places import LOCK, WorkDirLock  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402
from tests import two_ranks  # noqa: E402
from tests.processes import start  # noqa: E402

linux_alone = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: other systems tell no child")


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


class Workers(torch.utils.data.Dataset):
    """Items that say which worker made them, slowly."""

    def __init__(self, folder):
        self.folder = folder

    def __len__(self):
        return 1000

    def __getitem__(self, index):
        (self.folder / str(os.getpid())).touch()
        time.sleep(0.2)
        return torch.zeros(1_000_000)  # fills the pipe: a worker waits for somebody to read


@linux_alone
def test_data_workers_end_with_a_process_that_is_killed(tmp_path):
    def load():
        begin = partial(begin_worker, None)
        loader = torch.utils.data.DataLoader(Workers(tmp_path), num_workers=3, worker_init_fn=begin)
        for _ in loader:
            time.sleep(1000)

    process = start(load)
    wait_until(lambda: len(list(tmp_path.iterdir())) == 3)
    workers = [int(path.name) for path in tmp_path.iterdir()]
    process.kill()
    process.join()
    wait_until(lambda: not any(map(is_alive, workers)), 5)


def test_a_worker_obeys_the_second_sigterm_only(tmp_path):
    def work():
        begin_worker(None, 0)
        (tmp_path / "began").touch()
        time.sleep(1000)

    process = start(work)
    wait_until((tmp_path / "began").exists)
    process.terminate()
    process.join(0.5)
    assert process.is_alive()
    process.terminate()
    process.join(5)
    assert process.exitcode == -signal.SIGTERM


@linux_alone
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ranks_save_and_end_when_torchrun_is_ended(tmp_path, number):
    work = tmp_path / "work"
    with (tmp_path / "log").open("w") as log:
        launcher = two_ranks.launch(work, "sound", log)
    wait_until(lambda: len(list(work.glob("began-*"))) == 2, 200)
    ranks = [int(path.name.partition("-")[2]) for path in work.glob("began-*")]
    launcher.send_signal(number)
    launcher.wait(60)
    wait_until(lambda: not any(map(is_alive, ranks)), 120)
    assert (work / "last_checkpoint").exists(), (tmp_path / "log").read_text()
    path = Path((work / "last_checkpoint").read_text())
    assert path.parent == work and path.name.startswith("iter_")
    assert read_checkpoint(path)["meta"]["iter"] == int(path.stem.partition("_")[2]) >= 5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", "train (rank 1): Training stopped at iteration 3"),
        ("image", "train (rank 1): Image broken.png cannot be read."),
        ("bug", "KeyError: 'a bug'"),
    ],
)
def test_a_failure_of_one_process_is_said_and_ends_all(kind, said, tmp_path):
    with (tmp_path / "log").open("w") as log:
        launcher = two_ranks.launch(tmp_path / "work", kind, log)
    assert launcher.wait(280) == 1  # gloo's time-out is half an hour
    assert said in (tmp_path / "log").read_text()


# One work dir.


def hold(folder, state):
    lock = WorkDirLock(str(folder))
    (folder / state).touch()
    time.sleep(1000)
    lock.release()


def test_a_second_training_in_a_work_dir_is_refused_naming_the_first(tmp_path):
    process = start(lambda: hold(tmp_path, "held"))
    wait_until((tmp_path / "held").exists)
    with pytest.raises(InputError, match=f"in use: process {process.pid} of .* trains there"):
        WorkDirLock(str(tmp_path))
    process.kill()
    process.join()
    assert (tmp_path / LOCK).exists()  # of a dead one: it does not count
    lock = WorkDirLock(str(tmp_path))
    lock.release()
    assert not (tmp_path / LOCK).exists()


def test_leftovers_of_killed_writers_are_removed(tmp_path):
    def write():
        with written_aside(tmp_path / "out") as partial:
            (partial / "half").touch()
            os.kill(os.getpid(), signal.SIGKILL)

    process = start(write)
    process.join()
    assert [path.name.partition(".new-")[0] for path in tmp_path.iterdir()] == [".out"]
    with written_aside(tmp_path / "out") as partial:
        (partial / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "whole"]
    (tmp_path / ".epoch_3.pth.part").touch()
    (tmp_path / ".hidden").touch()
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "out"]


def test_a_process_ends_silently_though_persistent_workers_of_its_are_alive(capfd):
    """multiprocessing sends them one SIGTERM, of the two that they obey, and waits."""

    def work():
        loader = DataLoader(list(range(4)), num_workers=1, persistent_workers=True)
        util.Finalize(None, time.sleep, args=(1.0,), exitpriority=0)  # behind the next: time to hear of a death
        keep_workers(loader)
        sys.kept = iter(loader)  # what the interpreter does not take down by itself

    process = start(work)
    process.join(60)
    alive = process.is_alive()
    process.kill()
    assert not alive and process.exitcode == 0
    assert capfd.readouterr().err == ""
