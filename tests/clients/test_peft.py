"""LoRA on every kind of layer: gradients arrive, and merging changes no output."""

import pytest
import timm
import torch

peft = pytest.importorskip("peft", reason="needs peft (requirements/clients.txt)")

import maxvit_dense  # noqa: E402, F401  registers the timm names
from tests.networks import fill_with_noise, relative_difference  # noqa: E402

TARGETS = ["conv1", "conv1_1x1", "conv3_1x1", "qkv", "proj", "fc1", "fc2"]


@pytest.mark.parametrize("targets", [["conv1_1x1"], ["conv3_1x1"], ["qkv", "proj"], TARGETS], ids=lambda t: t[0])
def test_lora(targets):
    network = fill_with_noise(timm.create_model("maxvit_mini", num_classes=3)).eval()
    adapted = peft.get_peft_model(network, peft.LoraConfig(r=4, target_modules=targets, init_lora_weights=False))
    x = torch.randn(2, 3, 64, 90)
    adapted(x).square().sum().backward()
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert len(trained) >= 2 * len(targets)
    assert [n for n, p in trained.items() if p.grad is None or not p.grad.abs().max() > 0] == []
    with torch.no_grad():
        apart = adapted.eval()(x)
        merged = adapted.merge_and_unload()(x)
    assert relative_difference(merged, apart) < 1e-4
