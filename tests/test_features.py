"""``features_only`` networks: timm's interface around the maps, and weights of whole networks."""

import numpy as np
import pytest
import timm
import torch
from timm.optim import param_groups_layer_decay

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import fill_with_noise, largest_difference


def features(**kwargs):
    return fill_with_noise(timm.create_model("maxvit_mini", features_only=True, **kwargs)).eval()


@pytest.fixture(scope="module")
def classifier():
    return fill_with_noise(timm.create_model("maxvit_mini", num_classes=3), seed=1).eval()


def images(height=64, width=96):
    return torch.randn(2, 3, height, width)


def same_maps(ours, theirs):
    return len(ours) == len(theirs) and all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("mode", [True, "cheap"])
def test_gradient_checkpointing_reaches_the_stages(mode):
    network = features().train()
    network.set_grad_checkpointing(mode, stages=[0, 2])
    assert [stage.grad_checkpointing for stage in network.model.stages] == [mode, False, mode, False]


def test_the_window_can_be_changed():
    network, x = features(), images(160, 128)
    before = network(x)
    network.set_input_size(window_size=3)
    assert network.model.window_size == (3, 3)
    assert largest_difference(network(x)[-1], before[-1]) > 0


def test_layer_decay_falls_from_the_last_block_to_the_stem():
    network = features()
    scales = {}
    for group in param_groups_layer_decay(network, layer_decay=0.5):
        for name, parameter in network.named_parameters():
            if any(parameter is p for p in group["params"]):
                scales[name] = group["lr_scale"]
    assert scales["model.stem.conv1.weight"] < scales["model.stages.0.blocks.0.conv.conv1_1x1.weight"]
    assert scales["model.stages.3.blocks.0.conv.conv1_1x1.weight"] == max(scales.values())
    assert len(set(scales.values())) == 6
    assert network.no_weight_decay() == {n for n in scales if n.endswith("bias_table")}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("feature_cls", ["getter", "dict"])
def test_torchscript_gives_the_same_maps(feature_cls):
    network = features(feature_cls=feature_cls, out_indices=(1, 3))
    script = torch.jit.script(network)
    for size in ((64, 64), (70, 50)):
        ours, theirs = script(images(*size).fill_(0.5)), network(images(*size).fill_(0.5))
        ours, theirs = (list(m.values()) if feature_cls == "dict" else m for m in (ours, theirs))
        assert max(largest_difference(a, b) for a, b in zip(ours, theirs, strict=True)) < 1e-4


def test_lists_and_dicts_are_the_same_maps():
    x, kinds = images(), {}
    weights = features(out_indices=(0, 2)).state_dict()
    for kind in ("getter", "list", "dict"):
        network = features(feature_cls=kind, out_indices=(0, 2))
        network.load_state_dict(weights)
        kinds[kind] = network(x)
    assert list(kinds["dict"]) == ["stem", "stages.1"]
    assert same_maps(kinds["list"], kinds["getter"])
    assert same_maps(list(kinds["dict"].values()), kinds["getter"])


def test_an_unknown_feature_class_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="feature_cls='array': give one of getter, list, dict, hook, fx"):
        timm.create_model("maxvit_mini", features_only=True, feature_cls="array")


@pytest.mark.parametrize("indices", [range(1, 3), np.array([1, 2]), (np.int64(1), np.int64(2))])
def test_indices_may_be_ranges_and_numpys_numbers(indices):
    assert [m.shape[1] for m in features(out_indices=indices)(images())] == [32, 64]


def test_sizes_may_be_numpys_numbers():
    network = timm.create_model("maxvit_mini", img_size=np.int64(96), window_size=(np.int64(3), 4))
    assert (network.img_size, network.window_size) == ((96, 96), (3, 4))


# checkpoint_path


def saved(network, path, **extra):
    torch.save({"state_dict": network.state_dict(), **extra} if extra else network.state_dict(), path)
    return str(path)


def test_a_classifiers_checkpoint_gives_its_maps(classifier, tmp_path):
    path = saved(classifier, tmp_path / "classifier.pth", epoch=1)
    network = timm.create_model("maxvit_mini", features_only=True, out_indices=(0, 2), checkpoint_path=path).eval()
    x = images()
    assert same_maps(network(x), classifier.forward_intermediates(x, [0, 2], intermediates_only=True))


def test_a_feature_networks_checkpoint_comes_back(tmp_path):
    network, x = features(), images()
    path = saved(network, tmp_path / "features.pth")
    again = timm.create_model("maxvit_mini", features_only=True, checkpoint_path=path).eval()
    assert same_maps(again(x), network(x))


def test_tables_of_another_size_are_resized(tmp_path):
    path = saved(timm.create_model("maxvit_mini", img_size=384), tmp_path / "large.pth")
    network = timm.create_model("maxvit_mini", features_only=True, checkpoint_path=path)
    assert network.model.stages[0].blocks[0].attn_block.attn.rel_pos.relative_position_bias_table.shape == (1, 13, 13)


def test_a_checkpoint_of_another_network_is_refused_in_a_sentence(tmp_path):
    path = saved(timm.create_model("resnet18"), tmp_path / "resnet.pth")
    with pytest.raises(ValueError, match="this checkpoint is not of this network"):
        timm.create_model("maxvit_mini", features_only=True, checkpoint_path=path)
