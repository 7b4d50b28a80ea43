"""What people install works away from the checkout: the wheel, the source distribution, the command `maxvit-dense`."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from maxvit_dense.sample_data import write_sample_data
from tests.project_files import ROOT, tracked_files

pytest.importorskip("mmdet")

_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "work_dirs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)

# All that takes an import of torch, in one process.
AS_A_LIBRARY = """
import importlib, json, pkgutil
from mmengine.config import Config
import maxvit_dense
for module in pkgutil.walk_packages(maxvit_dense.__path__, "maxvit_dense."):
    needs_more = "maxvit_dense.ops.triton_", "maxvit_dense.openmmlab.inference.page"  # triton, gradio
    if not module.name.startswith(needs_more):
        importlib.import_module(module.name)
import timm, torch
maps = timm.create_model("maxvit_t", features_only=True).eval()(torch.zeros(1, 3, 33, 40))
said = {"file": maxvit_dense.__file__, "shapes": [tuple(m.shape[-2:]) for m in maps]}
for name in ("demo_retinanet_maxvit_mini_sample.py", "wrong.py"):
    try:
        said[name] = Config.fromfile(name).model.backbone.type
    except FileNotFoundError as error:
        said[name] = str(error)
print(json.dumps(said))
"""

USERS_CONFIG = """
_base_ = "maxvit_dense::demo_maskrcnn_maxvit_mini_sample.py"
train_cfg = dict(max_epochs=1, val_interval=2)
train_dataloader = dict(batch_size=2, num_workers=0, persistent_workers=False)
"""


def run(*command, cwd, **kwargs) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")} | kwargs
    return subprocess.run(list(map(str, command)), cwd=cwd, env=environment, capture_output=True, text=True)


def built(command: list[str], checkout: Path, pattern: str) -> Path:
    result = run(*command, cwd=checkout)
    assert result.returncode == 0, result.stdout + result.stderr
    return next((checkout / "dist").glob(pattern))


def wheel_of(checkout: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "dist", "."]
    return built(pip, checkout, "*.whl")


def contents(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """A copy of the project, so that a build leaves nothing in the original."""
    copy = tmp_path_factory.mktemp("build") / "maxvit_dense"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=_LEFT_OUT)
    shutil.rmtree(copy / "data", ignore_errors=True)
    return copy


@pytest.fixture(scope="module")
def wheel(checkout) -> Path:
    return wheel_of(checkout)


@pytest.fixture(scope="module")
def sdist(checkout) -> Path:
    build = "import sys; from setuptools.build_meta import build_sdist; build_sdist('dist')"
    return built([sys.executable, "-c", build], checkout, "*.tar.gz")


def environment_with(folder: Path, *what: str | Path) -> Path:
    """An environment with what pip is told; it sees this one's packages, but not what is in editable mode here."""
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder).returncode == 0
    python = folder / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation"]
    result = run(*pip, "--force-reinstall", *what, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    return environment_with(tmp_path_factory.mktemp("env"), wheel)


@pytest.fixture(scope="module")
def library(environment, tmp_path_factory) -> dict[str, Any]:
    """What a program says that uses the installed package."""
    folder = tmp_path_factory.mktemp("program")
    # Of the same name as the config that it inherits: this must not find itself.
    (folder / "demo_retinanet_maxvit_mini_sample.py").write_text(
        '_base_ = ["maxvit_dense::demo_retinanet_maxvit_mini_sample.py"]\n'
    )
    (folder / "wrong.py").write_text('_base_ = "maxvit_dense::maskrcnn_maxvit_coco.py"\n')
    result = run(environment / "bin" / "python", "-W", "ignore", "-c", AS_A_LIBRARY, cwd=folder)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def test_the_wheel_holds_every_module_and_config(wheel):
    names = contents(wheel)
    for folder, place in (("maxvit_dense", ""), ("configs", "maxvit_dense/.mim/"), ("tools", "")):
        paths = [path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*.py")]
        expected = {place + path.replace("tools/", "maxvit_dense_tools/") for path in paths}
        assert expected - names == set()
    assert not [name for name in names if name.startswith(("tests", "docs"))]


def test_a_wheel_of_the_source_distribution_is_the_same(sdist, wheel, tmp_path):
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = tmp_path.iterdir()
    assert contents(wheel_of(unpacked)) == contents(wheel)
    left_out = {"setup.cfg", ".gitignore"}  # setuptools adds a section to the first
    for path in tracked_files():
        name = path.relative_to(ROOT).as_posix()
        assert name in left_out or (unpacked / name).read_bytes() == path.read_bytes(), name


def test_every_module_imports_and_the_backbone_runs(library):
    assert "site-packages" in library["file"]
    assert library["shapes"] == [[17, 20], [9, 10], [5, 5], [3, 3], [2, 2]]


def test_mmengine_alone_resolves_the_packages_name_after_the_import(library):
    assert library["demo_retinanet_maxvit_mini_sample.py"] == "MaxViT"
    assert "Near ones: maskrcnn_maxvit_t_coco" in library["wrong.py"]


def test_an_editable_installation_runs_the_checkouts_files(checkout, tmp_path):
    environment = environment_with(tmp_path, "-e", checkout)
    names = "'maxvit_dense', 'maxvit_dense_tools'"
    where = f"import importlib.util; print(*(importlib.util.find_spec(name).origin for name in ({names})))"
    result = run(environment / "bin" / "python", "-c", where, cwd=tmp_path)
    assert result.stdout.split() == [str(checkout / name / "__init__.py") for name in ("maxvit_dense", "tools")]
    mistake = run(environment / "bin" / "maxvit-dense", "train", "upernet_maxvit_tiny_ade20k", cwd=tmp_path)
    assert "Near ones: upernet_maxvit_t_ade20k" in mistake.stderr


def test_the_command_lists_its_subcommands_without_torch(environment, tmp_path):
    result = run(environment / "bin" / "maxvit-dense", "--help", cwd=tmp_path, PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0
    assert "torch" not in result.stderr
    for name in ("train", "test", "check-dataset", "convert-dataset", "convert-checkpoint"):
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trian"], "no command 'trian'; there is train"),
        (["train", "maskrcnn_maxvit_q_coco"], "Near ones: maskrcnn_maxvit_t_coco"),
        (["train", "configs/demo_fpn_maxvit_mini_sample.py"], "Near ones: demo_fpn_maxvit_mini_sample"),
        (["test", "maskrcnn_maxvit_t_coco", "absent.pth"], "There is no checkpoint file absent.pth"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(environment, tmp_path, arguments, said):
    result = run(environment / "bin" / "maxvit-dense", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_users_config_trains_and_the_packages_evaluates_by_name(environment, tmp_path):
    write_sample_data(tmp_path / "data" / "sample", train=4, val=2, size=64)
    (tmp_path / "mine.py").write_text(USERS_CONFIG)
    command = environment / "bin" / "maxvit-dense"
    trained = run(command, "train", "mine.py", cwd=tmp_path, OMP_NUM_THREADS="1")
    assert trained.returncode == 0, trained.stderr[-2000:]
    arguments = ("demo_maskrcnn_maxvit_mini_sample", "work_dirs/mine/epoch_1.pth", "--out", "found.json")
    tested = run(command, "test", *arguments, cwd=tmp_path, OMP_NUM_THREADS="1")
    assert tested.returncode == 0, tested.stderr[-2000:]
    assert "coco/bbox_mAP" in json.loads((tmp_path / "found.json").read_text())["metrics"]
