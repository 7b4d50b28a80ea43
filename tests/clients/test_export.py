"""Programs for other machines: OpenVINO from the module, ahead-of-time compilation."""

import pytest
import timm
import torch

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import fill_with_noise, relative_difference


@pytest.fixture(scope="module")
def network():
    return fill_with_noise(timm.create_model("maxvit_mini", num_classes=3)).eval()


@pytest.mark.filterwarnings("ignore")
def test_openvino_runs_any_size(network):
    openvino = pytest.importorskip("openvino", reason="needs openvino (requirements/clients.txt)")
    program = openvino.compile_model(
        openvino.convert_model(network, example_input=torch.randn(1, 3, 64, 64)),
        "CPU",
        {"INFERENCE_PRECISION_HINT": "f32"},
    )
    for size in ((64, 64), (97, 131), (33, 224)):
        x = torch.randn(1, 3, *size)
        found = torch.from_numpy(program(x.numpy())[0])
        assert relative_difference(found, network(x).detach()) < 1e-4


@pytest.mark.requires_compiler
def test_aot_inductor(network, tmp_path):
    x = torch.randn(1, 3, 64, 64)
    network.prune_intermediate_layers([1])
    with torch.no_grad():
        program = torch.export.export(network, (x,))
        path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "network.pt2"))
        found = torch._inductor.aoti_load_package(path)(x)
        assert relative_difference(found, network(x)) < 1e-4
