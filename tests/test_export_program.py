"""One exported program for images of any size."""

import logging
import resource

import pytest
import timm
import torch

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense.errors import InputError
from maxvit_dense.export.formats import Graph, write_program
from maxvit_dense.export.program import export_program
from tests.networks import fill_with_noise, relative_difference

SIZES = ((1, 1), (2, 2), (33, 65), (97, 131), (224, 224), (640, 32), (200, 333), (7, 450))


@pytest.fixture(scope="module")
def network():
    return fill_with_noise(timm.create_model("maxvit_mini", features_only=True)).eval()


@pytest.fixture(scope="module")
def program(network):
    pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")
    return export_program(network, torch.randn(2, 3, 96, 160)).module()


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch", (1, 3))
def test_one_program_serves_any_size_and_batch(network, program, size, batch):
    x = torch.randn(batch, 3, *size)
    with torch.no_grad():
        for found, expected in zip(program(x), network(x), strict=True):
            assert found.shape == expected.shape
            assert relative_difference(found, expected) < 1e-5


def test_a_full_disk_is_told_and_does_not_end_the_process(tmp_path):
    pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")
    graph = Graph(torch.nn.Conv2d(3, 400, 9).eval(), dict(images=torch.zeros(2, 3, 96, 160)), ["map"])
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # bytes of a file: stands for a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            write_program(graph, "torch", tmp_path / "model.pt2")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_what_the_caller_silenced_stays_silenced(tmp_path):
    pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")
    graph = Graph(torch.nn.Conv2d(3, 4, 1).eval(), dict(images=torch.zeros(2, 3, 96, 160)), ["map"])
    logging.disable(logging.ERROR)
    try:
        write_program(graph, "torch", tmp_path / "model.pt2")
        assert logging.root.manager.disable == logging.ERROR
    finally:
        logging.disable(logging.NOTSET)


def test_a_fixed_batch_stays_fixed(network, program):
    first = network.model.stages[:1]
    alone = export_program(_Stage(network, first), torch.randn(1, 3, 96, 160), free_batch=False).module()
    assert alone(torch.randn(1, 3, 33, 65)).shape == (1, 32, 9, 17)
    with pytest.raises(AssertionError):
        alone(torch.randn(2, 3, 33, 65))


def test_older_pytorch_is_told_in_one_message(network, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch.fx.experimental.dynamic_spec", None)
    with pytest.raises(InputError, match="PyTorch 2.14"):
        export_program(network, torch.randn(1, 3, 96, 160))


class _Stage(torch.nn.Module):
    """Stem and first stage, quick to export."""

    def __init__(self, network, stages):
        super().__init__()
        self.stem, self.stages = network.model.stem, stages

    def forward(self, x):
        return self.stages[0](self.stem(x), (7, 7))
