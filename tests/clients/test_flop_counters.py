"""What others count agrees with PyTorch's own counter."""

import pytest
import timm
import torch
from torch.utils.flop_counter import FlopCounterMode

import maxvit_dense  # noqa: F401  registers the timm names


@pytest.fixture(scope="module")
def network():
    return timm.create_model("maxvit_mini").eval()


@pytest.fixture(scope="module")
def macs(network) -> float:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        network(torch.randn(1, 3, 224, 224))
    return counter.get_total_flops() / 2


def test_thop(network, macs):
    thop = pytest.importorskip("thop", reason="needs thop (requirements/clients.txt)")
    counted, _ = thop.profile(network, (torch.randn(1, 3, 224, 224),), verbose=False)
    assert counted == pytest.approx(macs, rel=0.03)


def test_ptflops(network, macs):
    ptflops = pytest.importorskip("ptflops", reason="needs ptflops (requirements/clients.txt)")
    counted, _ = ptflops.get_model_complexity_info(
        network, (3, 224, 224), as_strings=False, print_per_layer_stat=False, backend="pytorch"
    )
    assert counted == pytest.approx(macs, rel=0.03)  # with activations and norms


def test_torchinfo_sees_every_layer(network):
    torchinfo = pytest.importorskip("torchinfo", reason="needs torchinfo (requirements/clients.txt)")
    rows = torchinfo.summary(network, (1, 3, 224, 224), verbose=0).summary_list
    uncounted = [row.var_name for row in rows if row.class_name in ("Conv2d", "Linear") and not row.macs]
    assert uncounted == []


def test_fvcore(network, macs):
    fvcore = pytest.importorskip("fvcore.nn", reason="needs fvcore (requirements/clients.txt)")
    counted = fvcore.FlopCountAnalysis(network, torch.randn(1, 3, 224, 224))
    counted.unsupported_ops_warnings(False)
    assert counted.total() == pytest.approx(macs, rel=0.03)
