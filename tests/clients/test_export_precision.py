"""OpenVINO programs of fewer bits: a small network from export to answers."""

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from maxvit_dense.errors import InputError
from maxvit_dense.export import job
from maxvit_dense.export.formats import Graph
from maxvit_dense.runtime import load
from maxvit_dense.runtime.card import Card

pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")
for package in ("onnx", "onnxscript", "openvino"):
    pytest.importorskip(package, reason=f"needs {package} (requirements/clients.txt)")

PLAIN = dict(order="rgb", mean=[127, 127, 127], std=[64, 64, 64], resize=dict(rule="keep"))


class Exportable:
    """Two convolutions and what stands between, as `openmmlab.export.whole` would hand them over."""

    def __init__(self, between=nn.GELU):
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), between(), nn.Conv2d(16, 8, 3, padding=1))
        self.graph = Graph(network.eval(), dict(image=torch.randn(1, 3, 40, 50)), ["stride2"])
        self.card = Card("features", "two convolutions", [], "fp32", ["stride2"], PLAIN)

    @torch.no_grad()
    def reference(self, inputs):
        return dict(stride2=self.graph.module(torch.from_numpy(inputs["image"])).numpy())


@pytest.mark.parametrize(("precision", "least", "most"), [("fp32", 0, 1e-6), ("bf16", 0, 0.01), ("int8", 1e-4, 0.03)])
def test_programs_of_each_precision(tmp_path, precision, least, most):
    if precision == "int8":
        pytest.importorskip("nncf", reason="needs nncf (requirements/clients.txt)")
    exportable, folder = Exportable(), tmp_path / "out"
    images = [job.example_inputs(size, ["image"]) for size in job.SIZES]
    comparison = job.export(exportable, "openvino", folder, precision=precision, calibration=images)
    assert least <= max(comparison["differences"].values())  # or nothing was rounded
    assert sorted(path.name for path in folder.iterdir()) == ["model.bin", "model.json", "model.xml"]
    model = load(folder)
    assert model.card.precision == precision
    ops = Counter(op.get_type_name() for op in read_openvino(folder / "model.xml").get_ops())
    assert (ops["FakeQuantize"] > 1) == (precision == "int8")
    image = np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8)
    found = model([image])[0]["stride2"]
    expected = exportable.reference(dict(image=((image.astype(np.float32) - 127) / 64).transpose(2, 0, 1)[None]))
    assert np.abs(found - expected["stride2"][0]).mean() < most * np.abs(expected["stride2"]).max()


class Attention(nn.Module):
    """Each row of a map attends to itself."""

    def __init__(self):
        super().__init__()
        self.query, self.value = nn.Linear(16, 16), nn.Linear(16, 16)

    def forward(self, x):
        x = x.permute(0, 2, 3, 1)
        weights = (self.query(x) @ x.transpose(2, 3)).softmax(-1)
        return (weights @ self.value(x)).permute(0, 3, 1, 2)


def test_of_a_network_with_attention_linear_layers_alone_have_8_bits(tmp_path):
    pytest.importorskip("nncf", reason="needs nncf (requirements/clients.txt)")
    images = [job.example_inputs(size, ["image"]) for size in job.SIZES]
    job.export(Exportable(Attention), "openvino", tmp_path / "out", precision="int8", calibration=images)
    nodes = read_openvino(tmp_path / "out" / "model.xml").get_ops()
    rounded = Counter()
    for node in nodes:
        inputs = {part.get_source_output().get_node().get_type_name() for part in node.inputs()}
        rounded[node.get_type_name()] += "FakeQuantize" in inputs
    assert rounded["MatMul"] == 2 and rounded["Convolution"] == 0


def test_images_of_one_size_get_a_program_of_that_size(tmp_path):
    exportable = Exportable()
    exportable.card.preprocessing = PLAIN | dict(resize=dict(rule="stretch", height=40, width=30), pad_multiple=32)
    job.export(exportable, "openvino", tmp_path / "out")
    model = load(tmp_path / "out")
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    padded = np.zeros((1, 3, 64, 32), np.float32)
    padded[0, :, :40, :30] = ((image.astype(np.float32) - 127) / 64).transpose(2, 0, 1)
    expected = exportable.reference(dict(image=padded))["stride2"][0]
    np.testing.assert_allclose(model([image])[0]["stride2"], expected, atol=1e-4)
    model.card.preprocessing["resize"]["width"] = 80
    with pytest.raises(InputError, match="does not run on 1x3x64x96 values"):
        model([image])


def read_openvino(path):
    import openvino

    return openvino.Core().read_model(str(path))
