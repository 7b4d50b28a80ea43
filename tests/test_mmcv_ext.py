"""The module mmcv._ext, which stands for a compiled one: imported like it, giving way to it, naming what it lacks."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from mmengine.utils.dl_utils import mmcv_full_available

from maxvit_dense.openmmlab import mmcv_ops
from tests.mmcv_operators import mmcv

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "call, name",
    [
        (lambda x, rois: mmcv.ops.RoIPool(2)(x, rois), "'roi_pool_forward'"),
        (lambda x, rois: mmcv.ops.RoIAlign(2, pool_mode="max")(x, rois), 'pool_mode="max"'),
    ],
    ids=["operator", "mode"],
)
def test_an_unavailable_operator_names_itself_and_the_command(call, name):
    with pytest.raises(RuntimeError) as caught:
        call(torch.zeros(1, 4, 4, 4), torch.tensor([[0.0, 0, 0, 2, 2]]))
    message = str(caught.value)
    assert isinstance(caught.value, NotImplementedError)
    assert name in message
    assert "--no-build-isolation --no-deps --force-reinstall --no-cache-dir --no-binary onedl-mmcv" in message
    assert f" onedl-mmcv=={mmcv.__version__}\n" in message


def test_the_module_is_found_as_any_other():
    spec = importlib.util.find_spec("mmcv._ext")
    assert spec is not None and spec.loader is not None
    assert importlib.import_module("mmcv._ext") is mmcv._ext
    assert mmcv_full_available()


@pytest.mark.parametrize("name", ["__path__", "__wrapped__", "__all__s", "_private"])
def test_the_module_does_not_invent_private_attributes(name):
    assert not hasattr(mmcv._ext, name)


def test_the_environment_report_works():
    assert "maxvit_dense" in mmcv.ops.get_compiler_version()
    assert "maxvit_dense" in mmcv.ops.get_compiling_cuda_version()


def test_installing_twice_adds_one_finder():
    before = list(sys.meta_path)
    assert mmcv_ops.install() is True
    assert sys.meta_path == before


def test_installing_after_mmdet_warns(monkeypatch):
    others = [finder for finder in sys.meta_path if type(finder).__name__ != "_ExtFinder"]
    assert len(others) == len(sys.meta_path) - 1
    monkeypatch.setattr(sys, "meta_path", others)
    monkeypatch.setitem(sys.modules, "mmdet.structures", ModuleType("mmdet.structures"))
    with pytest.warns(UserWarning, match="mmdet.structures.*Import maxvit_dense.openmmlab first"):
        mmcv_ops.install()


# By its file: importing the package above it would bring mmengine and its friends along.
LOAD_ALONE = f"""
import importlib.util, sys
spec = importlib.util.spec_from_file_location("mmcv_ops", {mmcv_ops.__file__!r})
mmcv_ops = importlib.util.module_from_spec(spec)
spec.loader.exec_module(mmcv_ops)
"""


def run_python(script, *extra_path):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (*extra_path, ROOT)))}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def compiled_mmcv(tmp_path):
    """A folder with a package mmcv whose _ext stands for a compiled one."""
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").touch()
    (tmp_path / "mmcv" / "_ext.py").write_text("compiled = True\n")
    return tmp_path


def test_a_compiled_extension_wins(compiled_mmcv):
    run_python(
        LOAD_ALONE + "before = list(sys.meta_path)\n"
        "assert mmcv_ops.install() is False and sys.meta_path == before\n"
        "import mmcv._ext\n"
        "assert mmcv._ext.compiled is True and mmcv_ops.install() is False\n",
        compiled_mmcv,
    )


def test_a_compiled_extension_wins_when_it_appears_after_installing(compiled_mmcv):
    run_python(
        LOAD_ALONE + "assert mmcv_ops.install() is True\n"
        f"sys.path.insert(0, {str(compiled_mmcv)!r})\n"
        "import mmcv._ext\n"
        "assert mmcv._ext.compiled is True\n"
    )


def test_installing_imports_nothing_heavy():
    run_python(
        LOAD_ALONE + "assert mmcv_ops.install() is True\n"
        "assert not {'mmcv', 'mmengine', 'torch', 'torchvision'} & set(sys.modules)\n"
    )


def test_mmdet_and_mmseg_import_after_installing():
    run_python(
        "from maxvit_dense.openmmlab.mmcv_ops import install\n"
        "assert install() is True\n"
        "import mmdet.models, mmdet.apis, mmseg.models, mmcv.ops\n"
        "from mmdet.models.layers import bbox_nms\n"
        "from mmdet.structures.mask import structures\n"
        "assert bbox_nms.batched_nms is mmcv.ops.batched_nms\n"
        "assert structures.roi_align is mmcv.ops.roi_align\n"
    )
