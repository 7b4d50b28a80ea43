"""A short form of each loop of `make test-faults`."""

import math

import pytest

pytest.importorskip("mmdet", reason="tools/ need mmdet (pip install maxvit_dense[openmmlab])")

from tests import faults  # noqa: E402


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    return faults.Places(tmp_path_factory.mktemp("faults"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize(("loop", "most"), [(faults.flip_once, 60), (faults.kill_once, 1), (faults.stop_two_once, 1)])
def test_nothing_is_lost(loop, most, places):
    assert faults.repeat(loop, places, math.inf, most).total() == most
