"""The loops of `make test-faults`: a training killed and resumed, bytes flipped, two processes stopped, over and over.

`python -m tests.faults MINUTES` shares the time among them; a short form of each is in the tests.
"""

import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import torch

from maxvit_dense.errors import InputError
from maxvit_dense.openmmlab.engine import prepare  # noqa: F401 (once here, for all processes)
from maxvit_dense.weights.safe_load import extract_state_dict, read_checkpoint
from maxvit_dense.work_dir import last_checkpoint
from tests import pretraining
from tests.class_folders import write_folders
from tests.processes import run_processes, start
from tools import train

_EPOCHS = 4


class Places:
    """A small classifier's config and data, and the weights of a run of it that was never disturbed."""

    def __init__(self, root: Path):
        self.root, self.config = root, pretraining.write_config(root)
        self.data = write_folders(root / "images")
        start = time.monotonic()
        self.undisturbed = self.weights_of(self.run_until_done("undisturbed"))
        self.seconds = time.monotonic() - start  # of a run on this machine, now

    def train(self, name: str, *extra: str) -> int:
        """Exit code of a training in the work dir of that name, in this process."""
        settings = ["randomness.seed=5", f"train_cfg.max_epochs={_EPOCHS}", "train_dataloader.num_workers=2"]
        options = [str(self.config), "--data-root", str(self.data), "--work-dir", str(self.root / name)]
        return train.main([*options, *extra, "--cfg-options", *settings])

    def train_or_resume(self, name: str, *extra: str) -> None:
        resume = ["--resume"] if last_checkpoint(self.root / name) else []
        sys.exit(self.train(name, *extra, *resume))

    def run_until_done(self, name: str) -> Path:
        process = start(lambda: self.train_or_resume(name))
        process.join()
        assert process.exitcode == 0, f"{name}: exit code {process.exitcode}"
        return self.root / name

    @staticmethod
    def weights_of(work_dir: Path) -> dict[str, torch.Tensor]:
        return extract_state_dict(read_checkpoint(last_checkpoint(work_dir)))

    def check(self, name: str) -> None:
        """The work dir's files are whole, and its weights those of the undisturbed run; it is then removed."""
        found = self.weights_of(self.root / name)
        assert all(torch.equal(value, found[key]) for key, value in self.undisturbed.items()), name
        assert not list((self.root / name).rglob(".*.part")), f"{name}: leftovers"
        shutil.rmtree(self.root / name)


def kill_once(places: Places, draw: random.Random, number: int) -> str:
    """Kill a training at a random moment, check every checkpoint that it left, and resume it to the end."""
    name = f"killed-{number}"
    process = start(lambda: places.train_or_resume(name))
    process.join(draw.uniform(0.1, 1.0) * places.seconds)
    process.kill()  # its data workers are not told; one that was faster is done
    process.join()
    left = [read_checkpoint(path) for path in (places.root / name).glob("*.pth")]
    places.run_until_done(name)
    places.check(name)
    return "resumed" if left else "begun again"


def flip_once(places: Places, draw: random.Random, number: int) -> str:
    """Change 8 bytes of a checkpoint: it is refused, or what is read is what was written."""
    path = last_checkpoint(places.root / "undisturbed")
    content = bytearray(path.read_bytes())
    place = draw.randrange(len(content) - 8)
    content[place : place + 8] = draw.randbytes(8)
    changed = places.root / "flipped.pth"
    changed.write_bytes(content)
    try:
        found = extract_state_dict(read_checkpoint(changed))
    except InputError:
        return "refused"
    assert all(torch.equal(value, found[key]) for key, value in places.undisturbed.items()), f"byte {place}"
    return "harmless"


def stop_two_once(places: Places, draw: random.Random, number: int) -> str:
    """Two processes get SIGTERM at a random moment, leave with 143 or are done, and go on to the end."""
    name = f"two-{number}"

    def train() -> None:
        places.train_or_resume(name, "--launcher", "pytorch")

    codes = run_processes(train, 2, terminate_after=draw.uniform(0.3, 1.3) * places.seconds)
    # One that had not begun to train, or was done, obeys like any program; the other then lacks its partner.
    assert set(codes) <= {0, 143} or -signal.SIGTERM in codes, codes
    stopped = codes == [143, 143]
    assert not stopped or last_checkpoint(places.root / name) is not None
    codes = run_processes(train, 2)
    assert codes == [0, 0], codes
    shutil.rmtree(places.root / name)
    return "saved and resumed" if stopped else "ended before or after its training"


def repeat(what: Callable[[Places, random.Random, int], str], places: Places, seconds: float, most: int) -> Counter:
    """How often it was done and what came of it: for so many seconds, once at least."""
    draw, end, found = random.Random(what.__name__), time.monotonic() + seconds, Counter()
    while not found or (found.total() < most and time.monotonic() < end):
        found[what(places, draw, found.total())] += 1
    return found


def main(minutes: float) -> int:
    with tempfile.TemporaryDirectory() as folder:
        places = Places(Path(folder))
        for what, share, most in ((flip_once, 0.1, 2000), (kill_once, 0.5, 1000), (stop_two_once, 0.4, 1000)):
            found = repeat(what, places, 60 * minutes * share, most)
            words = ", ".join(f"{times} {came}" for came, times in found.items())
            print(f"{what.__name__}: {found.total()} times, nothing lost: {words}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 10.0))
