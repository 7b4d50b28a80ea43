"""The package imports and pins what it says; `make setup` refuses and repairs what it should."""

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from configparser import ConfigParser
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import maxvit_dense
from tests.project_files import ROOT, tracked_files

TORCH_PINS = sorted((ROOT / "requirements").glob("torch-*.txt"))
_UNPINNED = {"gradio", "rasterio"}  # of extras whose tests skip where these are missing

# Runs in an interpreter of its own, where none of the optional packages can be imported.
CORE_ALONE = """
import importlib, pkgutil, sys

class Blocked:
    names = {"mmengine", "mmcv", "mmdet", "mmseg", "triton", "cv2", "pycocotools"}
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Blocked())
import maxvit_dense
for module in pkgutil.walk_packages(maxvit_dense.__path__, "maxvit_dense."):
    if not module.name.startswith(("maxvit_dense.openmmlab", "maxvit_dense.sample_data", "maxvit_dense.ops.triton_")):
        importlib.import_module(module.name)

import timm, torch
maps = timm.create_model("maxvit_t", features_only=True).eval()(torch.zeros(1, 3, 33, 40))
print([tuple(m.shape[-2:]) for m in maps])
"""


def requirements(path: Path) -> list[Requirement]:
    """Requirement lines of a pin file that hold for the running Python."""
    lines = (line.partition("#")[0].strip() for line in path.read_text().splitlines())
    found = [Requirement(line) for line in lines if line]
    return [requirement for requirement in found if not requirement.marker or requirement.marker.evaluate()]


def pins(torch: str = "2.14", lists: tuple[str, ...] = ("clients", "pinned")) -> dict[str, str]:
    """Pinned version by normalised name, for one tested torch; where two lists have one, that of the set-up."""
    files = [ROOT / "requirements" / f"{name}.txt" for name in (*lists, f"torch-{torch}")]
    return {
        canonicalize_name(requirement.name): str(requirement.specifier).removeprefix("==")
        for path in files
        for requirement in requirements(path)
    }


@pytest.fixture
def pinned_environment() -> str:
    """The tested torch of the environment that runs the tests, if `make setup` made it."""
    if not (Path(sys.prefix) / ".maxvit_dense").is_file():
        pytest.skip("needs the environment that `make setup` makes")
    version = importlib.metadata.version("torch")
    return ".".join(version.split(".")[:2])


def test_core_imports_and_runs_without_openmmlab_opencv_and_triton():
    run = subprocess.run([sys.executable, "-c", CORE_ALONE], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "[(17, 20), (9, 10), (5, 5), (3, 3), (2, 2)]"


def test_importing_the_package_leaves_openmmlab_alone():
    code = "import sys, maxvit_dense; print({'mmengine', 'mmcv', 'mmdet', 'mmseg'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


# A folder imports those of lower floors alone (CONTRIBUTING has the same order); modules beside them are below all.
FLOORS = dict(backbones=0, config=1, data=2, classification=3, report=3, inference=3, engine=4, export=4)


@pytest.mark.parametrize("folder", FLOORS)
def test_folders_of_openmmlab_import_one_way(folder):
    base = ROOT / "maxvit_dense" / "openmmlab"
    for path in (base / folder).rglob("*.py"):
        depth = len(path.relative_to(base).parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == depth:
                asked = (node.module or "").partition(".")[0]
                assert asked == folder or FLOORS.get(asked, -1) < FLOORS[folder], (path, asked)


def test_tracked_files_hold_no_machine_paths_or_package_hosts():
    forbidden = re.compile(
        r"(?<![\w.~<>/}-])/(?:root|home|work|opt|tmp|Users|mnt|srv)/\w|pypi[.]org|python[h]osted|index[-]url|file:/{3}|find[-]links"
    )
    found = []
    for path in tracked_files():
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue  # a picture
        found += [f"{path.name}:{n}: {line}" for n, line in enumerate(lines, 1) if forbidden.search(line)]
    assert not found


def test_tracked_files_are_small():
    assert not [path.name for path in tracked_files() if path.stat().st_size > 1_000_000]


def test_version_is_the_same_in_package_metadata_and_changelog():
    version = maxvit_dense.__version__
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert any(version in heading for heading in headings[:2]), headings
    try:
        installed = importlib.metadata.version("maxvit_dense")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("maxvit_dense is imported from the checkout, not installed")
    assert installed == version, "metadata of the installed package is old: run `make setup`"


def test_metadata_ranges_allow_every_tested_pin():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")
    texts = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    wanted = [Requirement(line) for text in texts for line in text.splitlines() if line and line[0] != "#"]
    wanted = [requirement for requirement in wanted if requirement.name != "maxvit_dense"]
    assert {"torch", "timm", "onedl-mmdetection", "pytest"} <= {requirement.name for requirement in wanted}
    for path in TORCH_PINS:
        pinned = pins(path.stem.removeprefix("torch-"))
        tested = {r: pinned[canonicalize_name(r.name)] for r in wanted if r.name not in _UNPINNED}
        wrong = [str(r) for r, version in tested.items() if not r.specifier.contains(version)]
        assert not wrong, path.name


@pytest.mark.parametrize("name", ["pinned.txt", *(path.name for path in TORCH_PINS)])
def test_pin_files_name_one_exact_version_each(name):
    found = requirements(ROOT / "requirements" / name)
    assert all(re.fullmatch(r"==[\w.]+", str(requirement.specifier)) for requirement in found)
    names = [canonicalize_name(requirement.name) for requirement in found]
    assert len(names) == len(set(names))
    assert not any(requirement.url for requirement in found)


def test_running_environment_has_every_pin(pinned_environment):
    pinned = pins(pinned_environment, lists=("pinned",))  # the clients' have a folder of their own
    # Not every build of torch asks for these.
    optional = {"cuda-bindings", "cuda-pathfinder", "nvidia-nvjitlink", "triton"}
    # Not all of sys.path: setuptools, once imported, appends a folder with packages of its own.
    folders = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    found = importlib.metadata.distributions(path=folders)
    installed = {canonicalize_name(package.metadata["Name"]): package.version for package in found}
    wrong = {
        name: (installed.get(name), version)
        for name, version in pinned.items()
        if (installed.get(name) or "absent").partition("+")[0] != version
        and not (name in optional and name not in installed)
    }
    assert not wrong, f"(installed, pinned): {wrong}"


def test_only_the_opencv_with_windows_is_left_out_of_the_environment(pinned_environment):
    command = [sys.executable, "-m", "pip", "check", "--disable-pip-version-check"]
    complaints = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
    other = [line for line in complaints if "requires opencv-python, which is not installed" not in line]
    assert other in ([], ["No broken requirements found."])


def test_opencv_needs_no_display_libraries(pinned_environment):
    libraries = [
        Path(importlib.metadata.distribution("opencv-python-headless").locate_file(file))
        for file in importlib.metadata.files("opencv-python-headless")
        if ".so" in file.name
    ]
    assert libraries
    display = re.compile(rb"lib(?:GL|xcb|X11|glib-2|gthread-2)[\w.-]*\.so")
    for library in libraries:
        assert not display.findall(library.read_bytes()), library.name


# make setup, with a Python that notes what it is asked for instead of installing several GB

PYTHON = """#!/bin/sh
case "$*" in
    "-m venv "*)
        test ! -e "$3/pyvenv.cfg" || exit 1; mkdir -p "$3/bin"; touch "$3/pyvenv.cfg"; cp "$0" "$3/bin/python"
        echo clear >> LOG;;
    *"-m pip install"*"-e ."*) echo install >> LOG; test ! -e BROKEN;;
    *"-c import sys"*) exec REAL "$@";;
esac
"""


@pytest.fixture
def setup(tmp_path):
    """Runs `make setup` for a folder, in a copy of the files that it reads; what it did since the last call."""
    if shutil.which("make") is None:
        pytest.skip("needs make on the PATH")
    checkout, log, broken = tmp_path / "checkout", tmp_path / "log", tmp_path / "broken"
    for name in ("Makefile", "setup.cfg", "setup.py", "pyproject.toml", "requirements", "maxvit_dense/__init__.py"):
        target = checkout / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, target)
    python = tmp_path / "python3"
    text = PYTHON.replace("LOG", str(log)).replace("BROKEN", str(broken)).replace("REAL", sys.executable)
    python.write_text(text)
    python.chmod(0o755)

    def run(folder="env", python=python):
        log.unlink(missing_ok=True)
        command = ["make", "setup", f"PYTHON={python}", f"VENV={folder}"]
        result = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
        result.did = log.read_text().split() if log.exists() else []
        return result

    run.checkout, run.broken = checkout, broken
    return run


def test_setup_does_nothing_the_second_time(setup):
    assert setup().did == ["clear", "install"]
    assert setup().did == []


def test_setup_starts_over_after_an_interruption(setup):
    setup.broken.touch()
    assert setup().returncode != 0
    setup.broken.unlink()
    assert setup().did == ["clear", "install"]


@pytest.mark.parametrize("changed", ["requirements/pinned.txt", "setup.cfg", "maxvit_dense/__init__.py"])
def test_setup_brings_an_environment_up_to_date_without_making_it_anew(setup, changed):
    setup()
    stamp = setup.checkout / "env" / ".maxvit_dense"
    os.utime(setup.checkout / changed, (stamp.stat().st_mtime + 5,) * 2)
    assert setup().did == ["install"]


def test_setup_starts_over_where_its_python_is_gone(setup):
    setup()
    (setup.checkout / "env" / "bin" / "python").unlink()
    os.utime(setup.checkout / "setup.cfg", (2**31,) * 2)
    assert setup().did == ["clear", "install"]


@pytest.mark.parametrize("content", ["thesis.tex", "pyvenv.cfg"])
def test_setup_and_clean_leave_a_foreign_folder_alone(setup, content):
    """A folder of files, and an environment that somebody made for something else."""
    work = setup.checkout / ".venv" / content
    work.parent.mkdir()
    work.write_text("years of work")
    result = setup(".venv")
    assert (result.returncode, result.did) == (2, [])
    assert ".venv was not made here, so it is left alone" in result.stderr
    subprocess.run(["make", "clean"], cwd=setup.checkout, check=True, capture_output=True)
    assert [path.name for path in work.parent.iterdir()] == [content]
    assert work.read_text() == "years of work"


def test_clean_removes_an_environment_that_setup_made(setup):
    assert setup(".venv").did == ["clear", "install"]
    subprocess.run(["make", "clean"], cwd=setup.checkout, check=True, capture_output=True)
    assert not (setup.checkout / ".venv").exists()


@pytest.mark.parametrize(
    ("python", "said"), [("no-such-python", "there is no no-such-python"), ("false", "have builds for 3.10 to 3.14")]
)
def test_setup_answers_an_unusable_python_in_one_line(setup, python, said):
    result = setup(python=python)
    assert result.returncode == 2
    assert said in result.stderr and "PYTHON=" in result.stderr
    assert not (setup.checkout / "env").exists()
