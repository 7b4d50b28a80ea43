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

import pytest

ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv*", "work_dirs", "build", "dist", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis"
)

EVERY_MODULE = """
import importlib, pkgutil, maxvit_dense
assert "site-packages" in maxvit_dense.__file__, maxvit_dense.__file__
for module in pkgutil.walk_packages(maxvit_dense.__path__, "maxvit_dense."):
    if not module.name.startswith("maxvit_dense.ops.triton_"):
        importlib.import_module(module.name)
import timm, torch
maps = timm.create_model("maxvit_t", features_only=True).eval()(torch.zeros(1, 3, 33, 40))
print([tuple(m.shape[-2:]) for m in maps])
"""

USERS_CONFIG = """
_base_ = "maxvit_dense::demo_retinanet_maxvit_mini_sample.py"
train_cfg = dict(max_epochs=1, val_interval=1)
train_dataloader = dict(batch_size=2)
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


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Path:
    """An environment with the wheel; it sees this one's packages, but not what is installed in editable mode here."""
    folder = tmp_path_factory.mktemp("env")
    assert run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=folder).returncode == 0
    python = folder / "bin" / "python"
    packages = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=folder).stdout.strip()
    Path(packages, "others.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--force-reinstall", wheel]
    result = run(*pip, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def sample(environment, tmp_path_factory) -> Path:
    """An empty folder, in which the command has drawn the sample data."""
    folder = tmp_path_factory.mktemp("away")
    options = ("--train", 6, "--val", 2, "--size", 64, "--workers", 1)
    result = run(environment / "bin" / "maxvit-dense", "make-sample-data", "data/sample", *options, cwd=folder)
    assert result.returncode == 0, result.stderr
    return folder


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
    for name in ("tests/networks.py", "docs/own_data.md", "requirements/pinned.txt", "Makefile", "configs/_base_"):
        assert (unpacked / name).exists(), name


def test_every_module_imports_and_the_backbone_runs(environment, tmp_path):
    result = run(environment / "bin" / "python", "-W", "ignore", "-c", EVERY_MODULE, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "[(17, 20), (9, 10), (5, 5), (3, 3), (2, 2)]"


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
        (["train", "configs/demo_fpn_maxvit_mini_sample.py.bak"], "There is no config"),
        (["test", "maskrcnn_maxvit_t_coco", "absent.pth"], "There is no checkpoint file absent.pth"),
    ],
)
def test_mistakes_get_one_line_and_leave_nothing(environment, tmp_path, arguments, said):
    result = run(environment / "bin" / "maxvit-dense", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert said in result.stderr and result.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_config_by_name_trains_and_evaluates_in_an_empty_folder(environment, sample):
    command, name = environment / "bin" / "maxvit-dense", "demo_maskrcnn_maxvit_mini_sample"
    options = ("--cfg-options", "train_cfg.max_epochs=1", "train_cfg.val_interval=2", "train_dataloader.num_workers=0")
    options += ("train_dataloader.persistent_workers=False",)
    trained = run(command, "train", name, *options, cwd=sample, OMP_NUM_THREADS="1")
    assert trained.returncode == 0, trained.stderr[-2000:]
    checkpoint = sample / "work_dirs" / name / "epoch_1.pth"
    tested = run(command, "test", name, checkpoint, "--out", "found.json", cwd=sample, OMP_NUM_THREADS="1")
    assert tested.returncode == 0, tested.stderr[-2000:]
    assert "coco/bbox_mAP" in json.loads((sample / "found.json").read_text())["metrics"]


def test_a_users_config_inherits_by_the_packages_name(environment, sample):
    (sample / "mine.py").write_text(USERS_CONFIG)
    command = environment / "bin" / "maxvit-dense"
    trained = run(command, "train", "mine.py", "--cfg-options", "train_cfg.val_interval=2", cwd=sample)
    assert trained.returncode == 0, trained.stderr[-2000:]
    assert (sample / "work_dirs" / "mine" / "epoch_1.pth").is_file()


def test_mmengine_alone_resolves_the_packages_name_after_the_import(environment, tmp_path):
    (tmp_path / "mine.py").write_text('_base_ = ["maxvit_dense::maskrcnn_maxvit_t_coco.py"]\n')
    (tmp_path / "wrong.py").write_text('_base_ = "maxvit_dense::maskrcnn_maxvit_coco.py"\n')
    code = """
from mmengine.config import Config
import maxvit_dense.openmmlab
print(Config.fromfile("mine.py").model.backbone.type, Config.fromfile("mine.py").model.neck.in_channels)
try:
    Config.fromfile("wrong.py")
except FileNotFoundError as error:
    print(error)
"""
    result = run(environment / "bin" / "python", "-W", "ignore", "-c", code, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    backbone, wrong = result.stdout.strip().splitlines()
    assert backbone == "MaxViT [64, 128, 256, 512]"
    assert "Near ones: maskrcnn_maxvit_t_coco" in wrong
