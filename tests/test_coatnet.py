"""CoAtNet: timm's function at timm's size, the naive loop's at any, each image's own in a batch of sizes."""

from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from timm.utils import reparameterize_model

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense.catalog import CONFIGS
from maxvit_dense.coatnet import CoAtNet
from tests import naive_maxvit
from tests.networks import fill_with_noise, relative_difference

NAMES = [name for name in CONFIGS if name.startswith("coatnet_")]
# Every style, and sizes whose timm twin fits a test: our name and timm's.
PAIRS = {
    "coatnet_pico_rw": "coatnet_pico_rw_224",
    "coatnet_nano_rw": "coatnet_nano_rw_224",
    "coatnet_0_rw": "coatnet_0_rw_224",
    "coatnet_1_rw": "coatnet_1_rw_224",
    "coatnet_2_rw": "coatnet_2_rw_224",
    "coatnet_bn_0_rw": "coatnet_bn_0_rw_224",
    "coatnet_rmlp_nano_rw": "coatnet_rmlp_nano_rw_224",
    "coatnet_rmlp_0_rw": "coatnet_rmlp_0_rw_224",
    "coatnet_rmlp_1_rw": "coatnet_rmlp_1_rw_224",
    "coatnet_rmlp_1_rw2": "coatnet_rmlp_1_rw2_224",
    "coatnet_rmlp_2_rw": "coatnet_rmlp_2_rw_224",
    "coatnet_0": "coatnet_0_224",
    "coatnet_2": "coatnet_2_224",
}
# Early squeeze and pooling first; the largest of 3x3; BatchNorm; MLP and scaled branches; the paper's.
STYLES = ("coatnet_0_rw", "coatnet_rmlp_1_rw", "coatnet_bn_0_rw", "coatnet_rmlp_2_rw", "coatnet_0")
SIZE = st.tuples(st.integers(1, 100), st.integers(1, 100))
MIXED = [(64, 96), (33, 70), (1, 1), (96, 31)]


def small(name: str, **kwargs) -> CoAtNet:
    """A network of a name's style with a block a stage, two in the last, in double precision."""
    torch.manual_seed(0)
    cfg = replace(CONFIGS[name], stem_dim=8, stem_mid=8, dims=(32, 32, 32, 64), depths=(1, 1, 1, 2))
    return fill_with_noise(CoAtNet(cfg, **dict(num_classes=3) | kwargs)).double().eval()


@pytest.mark.parametrize("name", PAIRS)
def test_maps_and_logits_equal_timm(name):
    theirs = fill_with_noise(timm.create_model(PAIRS[name], num_classes=20)).eval()
    ours = timm.create_model(name, num_classes=20).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        (final, maps), (last, wanted) = ours.forward_intermediates(x), theirs.forward_intermediates(x)
        for a, b in zip([final, *maps, ours(x)], [last, *wanted, theirs(x)], strict=True):
            assert relative_difference(a, b) < 1e-5


@pytest.mark.parametrize("name", ["coatnet_nano_rw", "coatnet_rmlp_1_rw", "coatnet_0"])
def test_gradients_equal_timm(name):
    theirs = fill_with_noise(timm.create_model(PAIRS[name], num_classes=20)).eval()
    ours = timm.create_model(name, num_classes=20).eval()
    ours.load_state_dict(theirs.state_dict())
    x, seed = torch.randn(1, 3, 224, 224), torch.randn(1, 20)
    for net in (ours, theirs):
        (net(x) * seed).sum().backward()
    wanted = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        # A constant on all scores changes no softmax: of the MLP's last bias only rounding is left.
        scale = wanted[key.replace("fc2.bias", "fc2.weight") if "rel_pos" in key else key].grad.norm().clamp_min(1e-6)
        assert (parameter.grad - wanted[key].grad).norm() / scale < 1e-3, key


@settings(max_examples=12)
@given(SIZE, st.sampled_from(["coatnet_pico_rw", "coatnet_rmlp_nano_rw"]))
@example((37, 113), "coatnet_pico_rw")
@example((37, 113), "coatnet_rmlp_nano_rw")
@example((1, 1), "coatnet_pico_rw")
def test_maps_at_any_size_equal_the_naive_loop(size, name):
    network, x = small(name), torch.randn(1, 3, *size, dtype=torch.double)
    with torch.no_grad():
        maps = network.forward_intermediates(x, intermediates_only=True)
        for ours, theirs in zip(maps, naive_maxvit.forward_coatnet(network, x), strict=True):
            assert relative_difference(ours, theirs) < 1e-9


@settings(max_examples=12)
@given(st.sampled_from(STYLES), st.lists(SIZE, min_size=1, max_size=4))
@example(STYLES[0], MIXED)
@example(STYLES[1], MIXED)
@example(STYLES[2], MIXED)
def test_each_image_of_a_batch_is_as_it_is_alone(name, sizes):
    network = small(name)
    images = [torch.randn(1, 3, h, w, dtype=torch.double) for h, w in sizes]
    canvas = torch.full((len(sizes), 3, 101, 103), torch.nan, dtype=torch.double)
    for item, image in zip(canvas, images, strict=True):
        item[:, : image.shape[2], : image.shape[3]] = image[0]
    with torch.no_grad():
        final, maps = network.forward_intermediates(canvas, sizes=sizes)
        logits = network(canvas, sizes=sizes)
        for i, image in enumerate(images):
            alone, expected = network.forward_intermediates(image)
            for ours, theirs in zip([final, *maps], [alone, *expected], strict=True):
                h, w = theirs.shape[2:]
                assert relative_difference(ours[i : i + 1, :, :h, :w], theirs) < 1e-9
                assert not ours[i, :, h:].any() and not ours[i, :, :, w:].any()
            assert relative_difference(logits[i : i + 1], network(image)) < 1e-9


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("name", STYLES)
def test_scripted_traced_and_folded_networks_are_the_same_at_any_size(name):
    network = small(name)
    others = torch.jit.script(network), torch.fx.symbolic_trace(network), reparameterize_model(network)
    for size in ((64, 64), (70, 51)):
        x = torch.randn(2, 3, *size, dtype=torch.double)
        for other in others:
            assert relative_difference(other(x), network(x)) < 1e-9


@pytest.mark.parametrize("mode", [True, "cheap"])
def test_gradient_checkpointing_changes_no_gradient(mode):
    results = []
    for setting in (False, mode):
        network = small("coatnet_0_rw").train()
        network.set_grad_checkpointing(setting)
        x = torch.randn(2, 3, 70, 51, dtype=torch.double, generator=torch.Generator().manual_seed(0))
        network(x).square().sum().backward()
        results.append([p.grad for p in network.parameters()])
    assert all(relative_difference(a, b) < 1e-9 for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_every_name_gives_five_maps_and_every_parameter_a_gradient(name):
    with torch.device("meta"):
        features = timm.create_model(name, features_only=True)
        maps = features(torch.randn(2, 3, 61, 90))
        network = timm.create_model(name)
        network(torch.randn(2, 3, 61, 90)).sum().backward()
    assert features.feature_info.reduction() == [2, 4, 8, 16, 32]
    assert [m.shape[1] for m in maps] == features.feature_info.channels()
    assert [tuple(m.shape[2:]) for m in maps] == [(31, 45), (16, 23), (8, 12), (4, 6), (2, 3)]
    assert [n for n, p in network.named_parameters() if p.grad is None or p.grad.shape != p.shape] == []


def test_a_window_is_refused():
    with pytest.raises(ValueError, match="attends to the whole map"):
        timm.create_model("coatnet_0", window_size=7)
