"""Images of different sizes in one batch: features, gradients and statistics are those of the images alone."""

import copy
from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense import ragged
from maxvit_dense.maxvit import MaxViT
from maxvit_dense.styles import RMLP_ATTENTION, RW_ATTENTION, RW_CONV, MaxViTConfig
from tests import naive_maxvit
from tests.networks import SMALL, fill_with_noise, largest_difference, relative_difference, small_network

TINY = MaxViTConfig(stem_dim=8, dims=(32, 32, 32, 64), depths=(1, 1, 1, 2))
_RW = replace(TINY, stem_mid=12, conv=RW_CONV, head_hidden=False)
OTHER_STYLES = {
    "rw": replace(_RW, attention=replace(RW_ATTENTION, layer_scale=1e-6)),
    "rmlp": replace(_RW, attention=RMLP_ATTENTION),
}
SIZE = st.tuples(st.integers(1, 130), st.integers(1, 130))
SIZES = st.lists(SIZE, min_size=1, max_size=4)
WINDOW = st.one_of(st.integers(1, 9), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.just("ratio"))
MIXED = [(64, 96), (33, 70), (1, 1), (96, 31)]


def tiny(window=7, cfg=TINY, **kwargs) -> MaxViT:
    torch.manual_seed(0)
    return fill_with_noise(MaxViT(cfg, window_size=window, **(dict(num_classes=3) | kwargs))).double().eval()


def alone(sizes, dtype=torch.double) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(len(sizes))
    return [torch.randn(1, 3, h, w, generator=generator, dtype=torch.double).to(dtype) for h, w in sizes]


def canvas_of(images: list[torch.Tensor], fill=0.0, more=(0, 0)) -> torch.Tensor:
    height, width = (max(image.shape[axis] for image in images) for axis in (2, 3))
    canvas = images[0].new_full((len(images), 3, height + more[0], width + more[1]), fill)
    for item, image in zip(canvas, images, strict=True):
        item[:, : image.shape[2], : image.shape[3]] = image[0]
    return canvas


def crop(feature_map: torch.Tensor, item: int, like: torch.Tensor) -> torch.Tensor:
    return feature_map[item : item + 1, :, : like.shape[2], : like.shape[3]]


def assert_maps_are_those_of(maps, item, expected, tolerance):
    for ours, theirs in zip(maps, expected, strict=True):
        assert relative_difference(crop(ours, item, theirs), theirs) < tolerance
        outside = ours[item].clone()
        outside[:, : theirs.shape[2], : theirs.shape[3]] = 0
        assert not outside.any()


# Outputs


@settings(max_examples=20)
@given(SIZES, WINDOW, st.tuples(st.integers(0, 40), st.integers(0, 40)))
@example([(1, 1), (130, 2)], 7, (1, 0))
@example([(64, 64), (63, 65), (65, 63)], "ratio", (0, 0))
def test_each_images_maps_are_those_of_the_naive_loop_over_it_alone(sizes, window, more):
    network, images = tiny(window), alone(sizes)
    with torch.no_grad():
        canvas = canvas_of(images, float("nan"), more)
        maps = network.forward_intermediates(canvas, sizes=sizes, intermediates_only=True)
        for item, image in enumerate(images):
            assert_maps_are_those_of(maps, item, naive_maxvit.forward(network, image, window), 1e-9)
    assert [m.shape[2:] for m in maps] == [
        (-(-canvas.shape[2] // 2**k), -(-canvas.shape[3] // 2**k)) for k in range(1, 6)
    ]


@settings(max_examples=10)
@given(SIZES, WINDOW, st.sampled_from([(torch.float32, 1e-5), (torch.bfloat16, 0.06)]))
def test_working_precisions_stay_with_the_image_alone(sizes, window, precision):
    dtype, tolerance = precision
    network = small_network(window_size=window).to(dtype)
    images = alone(sizes, dtype)
    with torch.no_grad():
        maps = network.forward_intermediates(canvas_of(images, more=(3, 5)), sizes=sizes, intermediates_only=True)
        for item, image in enumerate(images):
            expected = network.forward_intermediates(image, intermediates_only=True)
            assert_maps_are_those_of(maps, item, expected, tolerance)


@pytest.mark.parametrize("pool", ["avg", "max", "avgmax"])
def test_logits_are_those_of_the_images_alone(pool):
    network, images = tiny(global_pool=pool), alone(MIXED)
    logits = network(canvas_of(images, 9.0), sizes=MIXED)
    assert relative_difference(logits, torch.cat([network(image) for image in images])) < 1e-9


def test_without_pooling_the_classifier_speaks_at_each_position():
    network, images = tiny(global_pool=""), alone(MIXED)
    logits = network(canvas_of(images, 9.0), sizes=MIXED)
    for item, image in enumerate(images):
        theirs = network(image)
        assert relative_difference(crop(logits, item, theirs), theirs) < 1e-9


@settings(max_examples=10)
@given(st.sampled_from(list(OTHER_STYLES)), SIZES, WINDOW)
@example("rw", MIXED, "ratio")
@example("rmlp", MIXED, 7)
def test_other_styles_too(style, sizes, window):
    network, images = tiny(window, OTHER_STYLES[style]), alone(sizes)
    with torch.no_grad():
        canvas = canvas_of(images, float("nan"), (3, 5))
        final, maps = network.forward_intermediates(canvas, sizes=sizes)
        logits = network(canvas, sizes=sizes)
        for item, image in enumerate(images):
            theirs, expected = network.forward_intermediates(image)
            assert_maps_are_those_of([final, *maps], item, [theirs, *expected], 1e-9)
            assert relative_difference(logits[item : item + 1], network(image)) < 1e-9


def test_torchvisions_network_too():
    network = fill_with_noise(timm.create_model("maxvit_t.tv_in1k", features_only=True)).eval()
    images = alone(MIXED, torch.float)
    with torch.no_grad():
        maps = network(canvas_of(images, 2.0), sizes=MIXED)
        for item, image in enumerate(images):
            assert_maps_are_those_of(maps, item, network(image), 1e-5)


@pytest.mark.parametrize("kind", [list, torch.tensor, lambda s: torch.tensor(s, dtype=torch.int32)])
def test_sizes_may_be_pairs_or_a_tensor_on_every_door(kind):
    network, images = small_network(), alone(MIXED, torch.float)
    canvas, sizes = canvas_of(images), kind(MIXED)
    features = timm.create_model("maxvit_mini", features_only=True, out_indices=(2, 4)).eval()
    with torch.no_grad():
        last = network.forward_features(canvas, sizes)
        final, maps = network.forward_intermediates(canvas, [4], sizes=sizes)
        assert torch.equal(last, final) and torch.equal(last, maps[0])
        for item, image in enumerate(images):
            assert_maps_are_those_of(features(canvas, sizes), item, features(image), 1e-5)


def test_a_folded_network_takes_sizes():
    network, images = small_network(), alone(MIXED, torch.float)
    folded = timm.utils.reparameterize_model(network)
    logits = folded(canvas_of(images, 5.0), sizes=MIXED)
    assert relative_difference(logits, torch.cat([network(image) for image in images])) < 1e-5


def test_images_that_fill_the_canvas_take_the_ordinary_path(monkeypatch):
    monkeypatch.setattr(ragged, "forward_maps", None)
    network, x = small_network(), torch.randn(2, 3, 40, 50)
    assert torch.equal(network(x, sizes=[(40, 50)] * 2), network(x))


# Gradients


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("window", [7, "ratio"])
def test_what_surrounds_the_images_changes_no_output_and_no_gradient(fill, window):
    network, images = tiny(window), alone(MIXED)
    results = []
    for value in (0.0, fill):
        canvas = canvas_of(images, value, (7, 9)).requires_grad_()
        maps = network.forward_intermediates(canvas, sizes=MIXED, intermediates_only=True)
        loss = sum(m.square().mean() for m in maps)
        results.append([*maps, *torch.autograd.grad(loss, [canvas, *network.stages.parameters()])])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@settings(max_examples=8)
@given(SIZES, WINDOW)
@example(MIXED, "ratio")
def test_gradients_are_the_sum_of_those_of_the_images_alone(sizes, window):
    network, images = tiny(window), [image.requires_grad_() for image in alone(sizes)]
    parameters = list(network.parameters())
    canvas = canvas_of([image.detach() for image in images], 3.0).requires_grad_()
    ours = torch.autograd.grad(network(canvas, sizes=sizes).square().sum(), [canvas, *parameters])
    losses = [network(image).square().sum() for image in images]
    theirs = torch.autograd.grad(sum(losses), [*images, *parameters])
    for item, expected in enumerate(theirs[: len(images)]):
        assert relative_difference(crop(ours[0], item, expected), expected) < 1e-8
    assert largest_difference(ours[0].sum(), sum(g.sum() for g in theirs[: len(images)])) < 1e-8
    for a, b in zip(ours[1:], theirs[len(images) :], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9 * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize("mode", [True, "cheap"])
def test_gradient_checkpointing_changes_nothing(mode):
    results = []
    for setting in (False, mode):
        network = tiny().train()
        network.set_grad_checkpointing(setting)
        logits = network(canvas_of(alone(MIXED)), sizes=MIXED)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in network.parameters()), *network.buffers()])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


def test_autocast():
    network, images = small_network(), alone(MIXED, torch.float)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = network(canvas_of(images), sizes=MIXED)
    assert relative_difference(mixed.float(), torch.cat([network(image) for image in images])) < 0.05


# Training


def norms_of(network) -> dict[str, nn.BatchNorm2d]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.BatchNorm2d)}


@pytest.mark.parametrize("window", [7, "ratio"])
def test_batch_norm_trains_on_the_real_positions_of_all_images(window):
    network, images = tiny(window).train(), alone(MIXED)
    before = copy.deepcopy(network)
    logits = network(canvas_of(images, float("nan")), sizes=MIXED)

    # A loop over images, layer by layer: each norm waits until all images have come to it.
    seen = {}
    reference = copy.deepcopy(before).eval()
    for name, norm in norms_of(reference).items():
        inputs = []
        hook = norm.register_forward_pre_hook(lambda _, args, inputs=inputs: inputs.append(args[0].detach()))
        with torch.no_grad():
            expected = [reference(image) for image in images]
        hook.remove()
        positions = torch.cat([x.permute(0, 2, 3, 1).flatten(0, 2) for x in inputs])
        seen[name] = positions
        norm.running_mean, norm.running_var = positions.mean(0), positions.var(0, correction=0)
    with torch.no_grad():
        expected = torch.cat([reference(image) for image in images])
    assert relative_difference(logits, expected) < 1e-8
    for name, norm in norms_of(network).items():
        old, positions = norms_of(before)[name], seen[name]
        torch.testing.assert_close(norm.running_mean, 0.99 * old.running_mean + 0.01 * positions.mean(0))
        torch.testing.assert_close(norm.running_var, 0.99 * old.running_var + 0.01 * positions.var(0))


def test_stochastic_depth_drops_whole_images():
    network = MaxViT(SMALL, num_classes=8, drop_path_rate=0.9).train()
    for norm in norms_of(network).values():
        norm.eval()  # only stochastic depth may tell equal images apart
    image = torch.randn(1, 3, 40, 33)
    sizes = [(40, 33)] * 12
    with torch.no_grad():
        logits = network(canvas_of([image] * 12, more=(8, 8)), sizes=sizes)
        outcomes = {tuple(row) for row in logits.round(decimals=4).tolist()}
        full = copy.deepcopy(network).eval()(image)
    assert 4 < len(outcomes) <= 12
    assert not torch.isclose(logits, full, atol=1e-4).all(1).all()


def test_an_epoch_of_changing_sizes_trains():
    network = small_network().train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    for sizes in ([(40, 60), (64, 33)], [(50, 50)] * 2, [(31, 97), (9, 9)]):
        optimizer.zero_grad()
        network(canvas_of(alone(sizes, torch.float)), sizes=sizes).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
        optimizer.step()


# What compilers do with it, and bad input


def test_a_compiled_network_runs_such_a_batch_as_it_is():
    network, images = small_network(), alone(MIXED, torch.float)
    torch.compiler.reset()
    compiled = torch.compile(network, backend="eager")
    assert relative_difference(compiled(canvas_of(images), MIXED), network(canvas_of(images), MIXED)) < 1e-5


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize(
    "record",
    [
        lambda network, x: torch.jit.script(network),
        lambda network, x: torch.fx.symbolic_trace(network),
        pytest.param(
            lambda network, x: torch.export.export(network, (x, MIXED)).module(),
            marks=pytest.mark.skipif(torch.__version__ < "2.8", reason="needs PyTorch 2.8, which tells of an export"),
        ),
    ],
    ids=["script", "fx", "export"],
)
def test_recorded_networks_refuse_sizes_in_a_sentence(record):
    x = canvas_of(alone(MIXED, torch.float))
    with pytest.raises((ValueError, torch.jit.Error), match="images that fill their canvas"):
        record(small_network(), x)(x, MIXED)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ([(40, 50)], "each of the 2 images"),
        ([(40, 50)] * 3, "each of the 2 images"),
        (40, "each of the 2 images"),
        ([(40, 50), (41, 50)], r"sizes\[1\]=\(41, 50\): .* 1 to the 40 x 50"),
        ([(0, 50), (40, 50)], r"sizes\[0\]=\(0, 50\)"),
        ([(-3, 50), (40, 50)], r"sizes\[0\]"),
        ([(40, 50), (40.0, 50)], "whole numbers of pixels"),
        ([(40, 50), 7], r"sizes\[1\]=7"),
        (torch.tensor([[40.0, 50.0]] * 2), "whole numbers"),
        (torch.tensor([[40, 50, 3]] * 2), "whole numbers"),
    ],
)
def test_sizes_that_cannot_be_are_refused_in_a_sentence(sizes, said):
    with pytest.raises(ValueError, match=said):
        small_network()(torch.randn(2, 3, 40, 50), sizes=sizes)
