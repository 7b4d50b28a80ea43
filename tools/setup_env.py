"""Make the pinned environment that `make demo` and `make test` run in; run again, it repairs or does nothing.

Standard library only: it runs before anything is installed, with whichever Python the Makefile was given.
"""

import argparse
import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PINNED = ROOT / "requirements" / "pinned.txt"
# The pins have builds for these; triton and numba stop before the next one.
OLDEST, NEWEST = (3, 10), (3, 14)
# 6.4 GB stay, more than half of them CUDA libraries; the downloads lie beside them until they are unpacked.
DISK_NEEDED_GB = 9
STATE = "maxvit_dense.json"
# Imported once at the end of a set-up, so that a broken one is found here and not in the middle of a demo.
IMPORTS = "torch, torchvision, timm, cv2, mmengine, mmcv, pycocotools.mask, tensorboard, maxvit_dense"


class SetupError(Exception):
    """A set-up that cannot go on; the text says what to do."""


def main(argv: Sequence[str] | None = None) -> int:
    """Set up the environment; return 0, 1 where a step failed, 2 where the request cannot be met."""
    choices = sorted(path.stem.removeprefix("torch-") for path in PINNED.parent.glob("torch-*.txt"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--venv", type=Path, required=True, help="folder of the environment")
    parser.add_argument("--torch", choices=choices, required=True, help="tested PyTorch release to install")
    args = parser.parse_args(argv)
    try:
        check_python(sys.version_info[:2])
        # Two commands started in two terminals: the second waits for the first one's environment.
        with PINNED.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            set_up(args.venv, args.torch)
    except SetupError as error:
        print(f"set-up: {error}", file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        print(
            f"set-up: step failed with exit status {error.returncode}; its own message stands above. "
            "Mend the cause and run the same command again: packages already downloaded are kept by pip.",
            file=sys.stderr,
        )
        return 1
    except KeyboardInterrupt:
        print("set-up: interrupted; run the same command again to finish it.", file=sys.stderr)
        return 130
    return 0


def check_python(version: tuple[int, int]) -> None:
    """Raise SetupError unless this Python can hold the pinned environment."""
    name = ".".join(map(str, version))
    if not OLDEST <= version <= NEWEST:
        raise SetupError(
            f"{sys.executable} is Python {name}; the pinned packages have builds for "
            f"Python {OLDEST[0]}.{OLDEST[1]} to {NEWEST[0]}.{NEWEST[1]}. "
            "Name one of them: make PYTHON=python3.12 ..."
        )
    missing = [module for module in ("venv", "ensurepip") if importlib.util.find_spec(module) is None]
    if missing:
        raise SetupError(
            f"{sys.executable} (Python {name}) comes without {' and '.join(missing)}, needed here. "
            f"On Debian and Ubuntu: apt-get install python{name}-venv. Elsewhere install a complete Python "
            "and name it: make PYTHON=/path/to/python3 ..."
        )


def set_up(path: Path, torch: str) -> None:
    """Bring the environment at `path` to the pinned state with the least work.

    Nothing where it is there already; pip alone where pins or metadata changed; all of it from the start
    where there is none, the last set-up was cut off (pip would trust a half-copied package), or it has
    another Python. A folder that this tool did not make is never touched.
    """
    wanted = {"python": "{}.{}".format(*sys.version_info), "torch": torch, "inputs": fingerprint(torch)}
    state = read_state(path)
    if state == wanted and venv_python_runs(path):
        return
    reason = rebuild_reason(path, state, wanted)
    if reason is None:
        print(f"set-up: bringing {path} up to date", flush=True)
    else:
        versions = f"Python {wanted['python']} and PyTorch {torch}"
        print(f"set-up: making {path} with {versions} ({reason})", flush=True)
        check_disk(path)
    write_state(path, {})
    started = time.monotonic()
    install(path, torch, clear=reason is not None)
    write_state(path, wanted)
    print(f"set-up: {path} is ready, {time.monotonic() - started:.0f} s", flush=True)


def fingerprint(torch: str) -> str:
    """Return a digest of what decides the installation: pins, metadata, version, the checkout's place."""
    digest = hashlib.sha256(str(ROOT).encode())
    names = ("requirements/pinned.txt", f"requirements/torch-{torch}.txt", "setup.cfg", "pyproject.toml")
    for name in (*names, "maxvit_dense/__init__.py", "tools/setup_env.py"):
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def read_state(path: Path) -> dict[str, str] | None:
    """Return what the last set-up left: {} where it did not finish, None where `path` is absent or empty.

    Raises SetupError for a folder with other contents.
    """
    try:
        return json.loads((path / STATE).read_text())
    except FileNotFoundError:
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return None
    except ValueError:
        return {}
    raise SetupError(
        f"{path} exists and was not made by this set-up, so it is left alone. "
        "Remove it, or name another folder: make VENV=.venv-maxvit ..."
    )


def write_state(path: Path, state: dict[str, str]) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / STATE).write_text(json.dumps(state, indent=1) + "\n")


def rebuild_reason(path: Path, state: dict[str, str] | None, wanted: dict[str, str]) -> str | None:
    """Return why the environment must be made from the start, or None where updating it is enough."""
    if state is None:
        return "there is none yet"
    if not state:
        return "the last set-up did not finish"
    if state.get("python") != wanted["python"]:
        return f"it has Python {state.get('python')}"
    if not venv_python_runs(path):
        return "its Python no longer runs"
    return None


def venv_python_runs(path: Path) -> bool:
    """Tell whether the environment's Python starts and finds its pip; after a system upgrade it may not."""
    try:
        command = [path / "bin" / "python", "-c", "import pip"]
        return subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def check_disk(path: Path) -> None:
    """Raise SetupError where the file system of `path` has no room for a new environment."""
    parent = next(folder for folder in path.resolve().parents if folder.is_dir())
    free = shutil.disk_usage(parent).free / 1e9
    replaced = sum(f.lstat().st_size for f in path.rglob("*")) / 1e9 if path.exists() else 0
    if free + replaced < DISK_NEEDED_GB:
        raise SetupError(
            f"an environment needs {DISK_NEEDED_GB} GB while it is made; {parent} has {free:.1f} GB free. "
            "Make room, or name a folder elsewhere: make VENV=/path/with/room/venv ..."
        )


def install(path: Path, torch: str, clear: bool) -> None:
    """Install everything, each step announced; raise CalledProcessError where one fails."""
    if clear:
        # In this process, not `python -m venv`: the running Python may be the one that is cleared away.
        builder = venv.EnvBuilder(clear=True, symlinks=True, with_pip=True)
        builder.create(path)
        write_state(path, {})
    python = path / "bin" / "python"
    # Byte code of 14,000 files, few of them ever imported, would take 40% of the set-up's computing time.
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile"]
    pair = ROOT / "requirements" / f"torch-{torch}.txt"
    steps = [
        ("pip", [*pip, "--quiet", "-c", PINNED, "pip", "setuptools", "wheel"]),
        (
            f"PyTorch {torch} with its CUDA libraries (about 2.5 GB to download)",
            [*pip, "-c", PINNED, "-c", pair, "torch", "torchvision"],
        ),
        (
            "timm, OpenMMLab and the test tools",
            [*pip, "--no-deps", "--build-constraint", PINNED, "-r", PINNED],
        ),
        ("maxvit_dense", [*pip, "--quiet", "--no-deps", "--no-build-isolation", "-e", ROOT]),
        ("first imports", [python, "-c", f"import {IMPORTS}"]),
    ]
    # PIP_USER in the environment or in pip's settings would send packages past the environment; warnings of
    # other packages' build scripts say nothing to who runs this.
    environ = {**os.environ, "PIP_USER": "0", "PYTHONWARNINGS": "ignore"}
    for number, (title, command) in enumerate(steps, start=1):
        print(f"set-up {number}/{len(steps)}: {title}", flush=True)
        subprocess.run(command, check=True, cwd=ROOT, env=environ)


if __name__ == "__main__":
    sys.exit(main())
