"""timm treats the networks as its own: every registered name through timm's interface."""

import copy
import itertools
import pickle

import pytest
import timm
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay, param_groups_weight_decay
from torch import nn

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import (
    fill_with_noise,
    images,
    largest_difference,
    mini,
    relative_difference,
    same_maps,
    small_network,
)

NAMES = timm.list_models("maxvit_*", module="variants")
OUT_INDICES = [s for n in range(1, 6) for s in itertools.combinations(range(5), n)]


# Every name


def test_the_registry_holds_the_papers_sizes_timms_and_ours():
    sizes = "t s b l xl pico nano tiny small base mini".split()
    assert set(NAMES) == {f"maxvit_{size}" for size in sizes}


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_of_every_size_gets_a_gradient(name):
    with torch.device("meta"):  # shapes and the graph, without XL's 2 GB of weights
        network = timm.create_model(name)
        logits = network(images(61, 90))
        logits.sum().backward()
    assert logits.shape == (2, network.num_classes)
    assert [n for n, p in network.named_parameters() if p.grad is None or p.grad.shape != p.shape] == []


@pytest.mark.parametrize("name", ["maxvit_mini", "maxvit_t", "maxvit_pico", "maxvit_nano.rw_256"])
def test_no_parameters_gradient_vanishes(name):
    network = fill_with_noise(timm.create_model(name, num_classes=10)).train()
    network(images(300, 257)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if not (p.grad.isfinite().all() and p.grad.abs().max() > 0)] == []


@pytest.mark.parametrize("name", NAMES)
def test_features_only_gives_five_maps_that_match_feature_info(name):
    with torch.device("meta"):
        features = timm.create_model(name, features_only=True)
        maps = features(images(61, 90))
    assert features.feature_info.reduction() == [2, 4, 8, 16, 32]
    assert [m.shape[1] for m in maps] == features.feature_info.channels()
    assert [tuple(m.shape[2:]) for m in maps] == [(31, 45), (16, 23), (8, 12), (4, 6), (2, 3)]


# Features


def test_features_only_gives_exactly_the_maps_asked_for():
    network, x = mini(), images(70, 50)
    every = network.forward_intermediates(x, intermediates_only=True)
    for chosen in OUT_INDICES:
        features = timm.create_model("maxvit_mini", features_only=True, out_indices=chosen).eval()
        features.model.load_state_dict(network.state_dict(), strict=False)
        assert same_maps(features(x), [every[i] for i in chosen]), chosen
        assert len(features.model.stages) == max(chosen)


@pytest.mark.parametrize(
    ("asked", "given"), [((-1,), (4,)), ((-5, -2), (0, 3)), ((0, -1), (0, 4)), ([1, 2], (1, 2)), (2, (3, 4))]
)
def test_out_indices_may_count_from_the_end(asked, given):
    features = timm.create_model("maxvit_mini", features_only=True, out_indices=asked)
    assert tuple(features.out_indices) == given
    assert features.feature_info.reduction() == [2 ** (i + 1) for i in given]


@pytest.mark.parametrize("feature_cls", ["getter", "fx"])
def test_feature_classes_agree_at_a_size_they_were_not_built_for(feature_cls):
    network = mini()
    features = timm.create_model("maxvit_mini", features_only=True, feature_cls=feature_cls, out_indices=(0, 2, 4))
    features.load_state_dict(
        {("model." if feature_cls == "getter" else "graph_module.") + k: v for k, v in network.state_dict().items()},
        strict=False,
    )
    for size in ((64, 64), (75, 131)):
        x = images(*size)
        every = network.forward_intermediates(x, intermediates_only=True)
        assert same_maps(features.eval()(x), [every[i] for i in (0, 2, 4)])


@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from(OUT_INDICES), st.booleans())
@example(1, 1, (0, 1, 2, 3, 4), True)
def test_intermediates_are_the_maps_on_the_way(height, width, chosen, stop_early):
    x = images(height, width, batch=1)
    with torch.inference_mode():
        last, every = SMALL.forward_intermediates(x)
        assert largest_difference(last, SMALL.forward_features(x)) == 0
        assert same_maps([last], every[-1:], 0)
        maps = SMALL.forward_intermediates(x, list(chosen), stop_early=stop_early, intermediates_only=True)
    assert same_maps(maps, [every[i] for i in chosen], 0)


def test_intermediates_given_as_a_number_are_the_last_ones():
    x = images(64, 40)
    assert same_maps(SMALL.forward_intermediates(x, 2)[1], SMALL.forward_intermediates(x, [3, 4])[1], 0)


@pytest.mark.parametrize("keep", range(5))
def test_pruning_keeps_the_chosen_map_and_drops_the_rest(keep):
    network, x = mini(), images(64, 96)
    expected = network.forward_intermediates(x, [keep], intermediates_only=True)
    assert network.prune_intermediate_layers([keep]) == [keep]
    assert len(network.stages) == keep and isinstance(network.get_classifier(), nn.Identity)
    assert same_maps(network.forward_intermediates(x, [keep], intermediates_only=True), expected, 0)
    assert network.num_features == expected[0].shape[1]
    assert same_maps([network(x)], expected)  # what is left gives its last map


def test_pruning_can_leave_the_head():
    network, x = mini(), images(64, 96)
    expected = network(x)
    network.prune_intermediate_layers([4], prune_head=False)
    assert largest_difference(network(x), expected) == 0


# Head


@pytest.mark.parametrize(
    ("num_classes", "pool", "shape"),
    [(7, None, (2, 7)), (7, "max", (2, 7)), (0, "avg", (2, 256)), (0, "", (2, 256, 3, 2)), (7, "", (2, 7, 3, 2))],
)
def test_reset_classifier(num_classes, pool, shape):
    network = mini()
    network.reset_classifier(num_classes, pool)
    assert network.num_classes == num_classes
    assert network(images(70, 50)).shape == shape
    assert isinstance(network.get_classifier(), nn.Identity) == (num_classes == 0)


def test_reset_classifier_keeps_the_device_and_dtype_of_the_network():
    network = mini().to(torch.bfloat16)
    network.reset_classifier(7, "max")
    assert {p.dtype for p in network.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax", ""])
def test_global_pool(pool):
    logits = mini(global_pool=pool)(images(70, 50))
    assert logits.shape == ((2, 10) if pool else (2, 10, 3, 2))


def test_hidden_features_come_before_the_classifier():
    network, x = mini(), images(64, 64)
    hidden = network.forward_head(network.forward_features(x), pre_logits=True)
    assert hidden.shape == (2, network.head_hidden_size)
    assert largest_difference(network.get_classifier()(hidden), network(x)) == 0


# Arguments


@pytest.mark.parametrize("channels", [1, 4, 5])
def test_in_chans(channels):
    network = timm.create_model("maxvit_mini", in_chans=channels, features_only=True)
    assert network(images(40, 70, channels=channels))[-1].shape == (2, 256, 2, 3)


def test_drop_rate_drops_in_the_head_while_training_only():
    network = mini(drop_rate=0.5)
    x = images(64, 64)
    assert network.head.drop.p == 0.5
    assert largest_difference(network(x), network(x)) == 0
    features = network.forward_features(x)
    network.train()
    assert largest_difference(network.forward_head(features), network.forward_head(features)) > 0


def test_drop_path_rates_grow_linearly_over_all_blocks():
    network = timm.create_model("maxvit_mini", drop_path_rate=0.4)
    rates = [
        [getattr(m, "drop_prob", 0.0) for m in (b.conv.drop_path, *attn)]
        for s in network.stages
        for b in s.blocks
        for attn in [(b.attn_block.drop_path1, b.attn_block.drop_path2, b.attn_grid.drop_path1, b.attn_grid.drop_path2)]
    ]
    for block, expected in zip(rates, torch.linspace(0, 0.4, 5).tolist(), strict=True):
        assert block == pytest.approx([expected] * 5)


def test_drop_path_drops_whole_images_while_training_only():
    network, x = mini(drop_path_rate=0.9), images(40, 40, batch=1).repeat(16, 1, 1, 1)
    assert relative_difference(*network(x).chunk(2)) < 1e-5
    for module in network.modules():  # keep BatchNorm still: only stochastic depth may tell equal images apart
        module.train(not isinstance(module, nn.BatchNorm2d))
    with torch.no_grad():
        logits = network(x)
    assert len({tuple(row.tolist()) for row in logits}) > 4


@pytest.mark.parametrize(("img_size", "table"), [(224, (13, 13)), (384, (23, 23)), ((200, 512), (13, 31)), (7, (1, 1))])
def test_img_size_sets_the_size_of_the_tables_and_the_window(img_size, table):
    network = timm.create_model("maxvit_mini", img_size=img_size)
    tables = [v for k, v in network.state_dict().items() if k.endswith("bias_table")]
    assert {tuple(t.shape[1:]) for t in tables} == {table}
    assert network.window_size == tuple((n + 1) // 2 for n in table)
    assert network(images(33, 65)).shape == (2, 1000)  # and limits nothing


def test_set_input_size_changes_the_window_and_no_weight():
    network, x = mini(), images(96, 64)
    before = copy.deepcopy(network.state_dict())
    network.set_input_size((96, 64))
    assert (network.img_size, network.window_size) == ((96, 64), (3, 2))
    by_size = network(x)
    network.set_input_size(window_size="ratio")
    assert network.window_size == "ratio"
    assert largest_difference(network(x), by_size) == 0
    network.set_input_size(window_size=7)
    assert largest_difference(network(x), by_size) > 0
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


# Optimizers


def test_bias_tables_norms_and_biases_take_no_weight_decay():
    network = mini()
    names = {n for n, _ in network.named_parameters()}
    assert network.no_weight_decay() == {n for n in names if n.endswith("relative_position_bias_table")}
    free, decayed = param_groups_weight_decay(network, 0.05, no_weight_decay_list=network.no_weight_decay())
    assert (free["weight_decay"], decayed["weight_decay"]) == (0.0, 0.05)
    assert {p.dim() for p in decayed["params"]} == {2, 4}
    assert len(free["params"]) + len(decayed["params"]) == len(names)


def test_a_position_mlp_takes_no_weight_decay_as_in_timm():
    ours, theirs = timm.create_model("maxvit_pico"), timm.create_model("maxvit_rmlp_pico_rw_256")
    assert ours.no_weight_decay() == theirs.no_weight_decay() != set()


def test_layer_groups_follow_depth():
    network = mini()
    groups = group_parameters(network, network.group_matcher())
    depth = {name: layer for layer, names in groups.items() for name in names}
    assert set(depth) == {n for n, _ in network.named_parameters()}
    assert {depth[n] for n in depth if n.startswith("stem")} == {0}
    blocks = ["stages.0.blocks.0", "stages.1.blocks.0", "stages.2.blocks.0", "stages.2.blocks.1", "stages.3.blocks.0"]
    for layer, block in enumerate(blocks, start=1):
        assert {depth[n] for n in depth if n.startswith(block + ".")} == {layer}
    assert {depth[n] for n in depth if n.startswith("head")} == {6}
    coarse = group_parameters(network, network.group_matcher(coarse=True))
    assert len(coarse) == 6  # stem, four stages, head


def test_timms_layer_decay_reaches_the_stem():
    scales = [g["lr_scale"] for g in param_groups_layer_decay(mini(), layer_decay=0.5)]
    assert min(scales) == 0.5**6 and max(scales) == 1


# Copies and other precisions


def test_copies_and_pickles_give_the_same_logits():
    network, x = mini(window_size="ratio"), images(50, 70)
    expected = network(x)
    for other in (copy.deepcopy(network), pickle.loads(pickle.dumps(network))):
        assert largest_difference(other(x), expected) == 0
    fresh = timm.create_model("maxvit_mini", num_classes=10, window_size="ratio").eval()
    fresh.load_state_dict(network.state_dict(), strict=True)
    assert largest_difference(fresh(x), expected) == 0


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.1), (torch.float16, 0.01)])
def test_low_precision_stays_near_float32(dtype, tolerance):
    network, x = mini(window_size=5), images(70, 50)  # resizes tables and masks edges
    expected = network.forward_features(x)
    with torch.autocast("cpu", dtype):
        mixed = network.forward_features(x)
    assert relative_difference(mixed.float(), expected) < tolerance
    whole = network.to(dtype).forward_features(x.to(dtype))
    assert whole.dtype == dtype
    assert relative_difference(whole.float(), expected) < tolerance


def test_gradients_flow_under_autocast():
    network = mini(window_size=5).train()
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(images(70, 50)).float().square().mean()
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert {p.grad.dtype for p in network.parameters()} == {torch.float32}


SMALL = small_network()
