"""Whoever looks for convolutions and linear layers finds ordinary ones: hooks, pruning, quantisation, sharding."""

import copy

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn
from torch.nn.utils import prune

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import fill_with_noise, largest_difference, relative_difference


@pytest.fixture
def network():
    return fill_with_noise(timm.create_model("maxvit_mini", num_classes=3)).eval()


def layers_of(network) -> dict[str, nn.Module]:
    return {name: m for name, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


def test_every_layer_is_built_as_pytorchs_own(network):
    for name, layer in layers_of(network).items():
        assert type(layer) in (nn.Conv2d, nn.Linear), name


@pytest.mark.parametrize("mode", ["training", "evaluation", "inference", "folded", "cheap checkpointing"])
def test_a_hook_on_every_layer_fires_and_keeps_what_it_saw(network, mode):
    if mode == "folded":
        network = reparameterize_model(network)
    network.train(mode in ("training", "cheap checkpointing"))
    network.set_grad_checkpointing("cheap" if mode == "cheap checkpointing" else False)
    seen, copies = {}, {}

    def note(name):
        def hook(module, args, output):
            seen[name], copies[name] = output, output.detach().clone()

        return hook

    for name, layer in layers_of(network).items():
        layer.register_forward_hook(note(name))
    with torch.set_grad_enabled(mode not in ("folded", "inference")):
        network(torch.randn(2, 3, 64, 90))
    assert set(seen) == set(layers_of(network))
    for name, output in seen.items():
        assert torch.equal(output, copies[name]), f"{name}: written over"


def test_pruned_layers_train_and_can_be_made_permanent(network):
    network.train()
    for layer in layers_of(network).values():
        prune.l1_unstructured(layer, "weight", amount=0.3)
    optimizer = torch.optim.SGD(network.parameters(), 0.001)
    for _ in range(2):
        optimizer.zero_grad()
        network(torch.randn(2, 3, 64, 64)).square().sum().backward()
        optimizer.step()
    network.eval()
    x = torch.randn(1, 3, 64, 64)
    before = network(x)
    for layer in layers_of(network).values():
        prune.remove(layer, "weight")
        assert (layer.weight == 0).float().mean() > 0.2
    assert largest_difference(network(x), before) < 1e-5


def test_folding_twice_is_folding_once(network):
    once = reparameterize_model(network)
    twice = reparameterize_model(once)
    x = torch.randn(2, 3, 70, 50)
    assert torch.equal(once(x), twice(x))
    assert not any(isinstance(m, nn.BatchNorm2d) for m in twice.modules())


def test_folding_keeps_what_is_frozen_frozen(network):
    network.requires_grad_(False)
    assert not any(p.requires_grad for p in reparameterize_model(network).parameters())


def test_a_folded_network_drops_paths_while_training_without_gradients():
    network = timm.create_model("maxvit_mini", num_classes=3, drop_path_rate=0.9).eval()
    folded = reparameterize_model(network).train()
    image = torch.randn(1, 3, 40, 40).repeat(8, 1, 1, 1)
    with torch.no_grad():
        logits = folded(image)
    assert len({tuple(row.tolist()) for row in logits}) > 2


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_dynamic_quantisation_of_a_folded_network(network):
    folded = reparameterize_model(network)
    quantized = torch.ao.quantization.quantize_dynamic(copy.deepcopy(folded), {nn.Linear}, dtype=torch.qint8)
    x = torch.randn(2, 3, 70, 50)
    with torch.no_grad():
        assert relative_difference(quantized(x), folded(x)) < 0.2


def test_weight_only_int8_of_a_folded_network(network):
    torchao = pytest.importorskip("torchao", reason="needs torchao (requirements/clients.txt)")
    from torchao.quantization import Int8WeightOnlyConfig

    folded = reparameterize_model(network)
    quantized = copy.deepcopy(folded)
    torchao.quantize_(quantized, Int8WeightOnlyConfig())
    x = torch.randn(2, 3, 70, 50)
    with torch.no_grad():
        assert relative_difference(quantized(x), folded(x)) < 0.2


def test_timms_attention_extractor_finds_the_weights(network):
    from timm.utils import AttentionExtract

    extract = AttentionExtract(network, method="hook")
    with torch.no_grad():
        maps = extract(torch.randn(2, 3, 70, 50))
    assert len(maps) == 10  # block and grid attention of five blocks
    for weights in maps.values():
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
