"""What others count of MaxViT-T agrees with PyTorch's own counter, and with what they count of timm's network."""

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import maxvit_dense  # noqa: F401  registers the timm names

SIZE = (3, 224, 224)


@pytest.fixture
def network():
    return timm.create_model("maxvit_t").eval()


@pytest.fixture(scope="module")
def macs() -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        timm.create_model("maxvit_t").eval()(torch.randn(1, *SIZE))
    return counter.get_total_flops() / 2


def test_thop(network, macs):
    thop = pytest.importorskip("thop", reason="needs thop (requirements/clients.txt)")
    counted, _ = thop.profile(network, (torch.randn(1, *SIZE),), verbose=False)
    assert counted == pytest.approx(macs, rel=0.03)


@pytest.mark.parametrize("backend", ["pytorch", "aten"])
def test_ptflops(network, macs, backend):
    ptflops = pytest.importorskip("ptflops", reason="needs ptflops (requirements/clients.txt)")
    counted, _ = ptflops.get_model_complexity_info(
        network, SIZE, as_strings=False, print_per_layer_stat=False, backend=backend
    )
    assert counted == pytest.approx(macs, rel=0.03)


def test_torchinfo_counts_the_layers_of_timms_network(network):
    """It takes a linear layer for one on a single row, so its sum is far below what runs: 2.02e9 for timm's network."""
    torchinfo = pytest.importorskip("torchinfo", reason="needs torchinfo (requirements/clients.txt)")
    found = torchinfo.summary(network, (1, *SIZE), verbose=0)
    uncounted = [row.var_name for row in found.summary_list if row.class_name in ("Conv2d", "Linear") and not row.macs]
    assert uncounted == []
    theirs = torchinfo.summary(timm.create_model("maxvit_tiny_tf_224").eval(), (1, *SIZE), verbose=0)
    assert found.total_mult_adds == pytest.approx(theirs.total_mult_adds, rel=0.03)


def test_fvcore(network, macs):
    fvcore = pytest.importorskip("fvcore.nn", reason="needs fvcore (requirements/clients.txt)")
    counted = fvcore.FlopCountAnalysis(network, torch.randn(1, *SIZE))
    counted.unsupported_ops_warnings(False)
    assert counted.total() == pytest.approx(macs, rel=0.03)
