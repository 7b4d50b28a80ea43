"""What all tests share: development data, skips that name what is missing, seeds, hypothesis profiles."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

# The first backward pass looks which devices there are, and starts threads for them, after which no forked process can
# train. Fake tensors put a GPU there that is none, so a first one is taken before any of them.
torch.ones(1, requires_grad=True).sum().backward()

# "ci" draws the same cases on every run; HYPOTHESIS_PROFILE=thorough draws new ones, and many. A test that
# sets `max_examples` itself keeps its number under both.
_quiet = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large]}
settings.register_profile("ci", max_examples=25, derandomize=True, database=None, print_blob=True, **_quiet)
settings.register_profile("thorough", max_examples=1000, print_blob=True, **_quiet)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a marked test where what it needs is missing."""
    if item.get_closest_marker("requires_compiler") and not any(map(shutil.which, ("c++", "g++", "clang++"))):
        pytest.skip("needs a C++ compiler on the PATH")
    if item.get_closest_marker("requires_gpu"):
        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    _forget_visualizers()


def _forget_visualizers() -> None:
    """Let the next Runner make its own: mmengine hands out one of each name for as long as a process lives."""
    visualization = sys.modules.get("mmengine.visualization")
    if visualization is not None:
        kinds = [visualization.Visualizer]
        for kind in kinds:
            kinds += kind.__subclasses__()
            kind._instance_dict.clear()


@pytest.fixture(autouse=True)
def _fixed_seed_and_threads() -> None:
    """Start each test from one random state, on one thread: its numbers do not depend on the core count."""
    torch = sys.modules.get("torch")  # tests that do not use it should not wait for its import
    if torch is not None:
        torch.manual_seed(0)
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real development data beside the checkout, with coco/ in it."""
    path = ROOT.parent / "shared" / "data"
    if not (path / "coco").is_dir():
        pytest.skip("needs ../shared/data/coco beside the checkout")
    return path


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.requires_gpu)])
def device(request) -> str:
    """Each kind of device in turn."""
    return request.param


@pytest.fixture
def options(config, data, tmp_path) -> list[str]:
    """Arguments of a run that would work, of a file's own config and data, into a work dir that is not there yet."""
    return [str(config), "--data-root", str(data), "--work-dir", str(tmp_path / "work")]


@pytest.fixture
def mmdet_scope() -> Iterator[None]:
    """Registries look for a name in mmdet first while a test runs, and nowhere in particular after it."""
    from mmengine.registry import DefaultScope, init_default_scope

    init_default_scope("mmdet")
    yield
    DefaultScope._instance_dict.clear()


@pytest.fixture(scope="module")
def official_detector():
    """The official recipe's whole T at 896."""
    from tests import official_recipe

    return official_recipe.build_detector()


@pytest.fixture
def small_official_detector():
    """The same recipe with the mini backbone and thin heads."""
    from tests import official_recipe

    return official_recipe.build_small_detector()
