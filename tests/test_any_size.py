"""Any image size, any window: equal to the naive loop, in output and gradient; edges are inert."""

import copy
from dataclasses import replace

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense.attention import PartitionAttention
from maxvit_dense.maxvit import MaxViT
from maxvit_dense.ops import partition_attention
from maxvit_dense.partition import make_partition
from maxvit_dense.styles import RMLP_ATTENTION, RW_ATTENTION, RW_CONV, MaxViTConfig
from tests import naive_maxvit

SMALLEST = MaxViTConfig(stem_dim=8, dims=(32, 32, 32, 64), depths=(1, 1, 1, 2))
_RW = replace(SMALLEST, stem_mid=12, conv=RW_CONV, head_hidden=False)
# Networks, and the words in which the naive loop is told of them.
STYLES = {
    "official": (SMALLEST, naive_maxvit.OFFICIAL),
    "rw": (replace(_RW, attention=replace(RW_ATTENTION, layer_scale=1e-6)), naive_maxvit.RW),
    "rmlp": (replace(_RW, attention=RMLP_ATTENTION), naive_maxvit.RW),
}
styles = st.sampled_from(list(STYLES))
sides = st.integers(1, 400)
windows = st.one_of(st.integers(1, 12), st.tuples(st.integers(1, 12), st.integers(1, 12)), st.just("ratio"))


def randomize(module):
    """Weights away from their initial zeros and ones, so that every one of them shows in the output."""
    generator = torch.Generator().manual_seed(1)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
            is_positive = name.endswith("running_var") or "norm" in name and name.endswith("weight")
            tensor.copy_(1 + 0.2 * noise.tanh() if is_positive else 0.3 * noise / max(tensor[0:1].numel(), 1) ** 0.5)
            if name.endswith("bias_table"):
                tensor.copy_(noise)
    return module


def smallest(window=7, style="official"):
    """The network with five blocks, in double precision: its rounding errors cannot hide a wrong window."""
    return randomize(MaxViT(STYLES[style][0], window_size=window, num_classes=0).double()).eval()


def assert_same_gradients(net, loss, expected):
    parameters = dict(net.named_parameters())
    used = [name for name in parameters if not name.startswith(("head.", "norm."))]
    found = torch.autograd.grad(loss, [parameters[n] for n in used])
    wanted = torch.autograd.grad(expected, [parameters[n] for n in used])
    for name, a, b in zip(used, found, wanted, strict=True):
        torch.testing.assert_close(
            a, b, rtol=1e-6, atol=1e-8 * max(1.0, b.abs().max().item()), msg=lambda m, n=name: f"{n}: {m}"
        )


@settings(max_examples=25)
@given(sides, sides, windows, styles)
@example(1, 1, 7, "official")
@example(37, 113, 7, "official")
@example(37, 113, 7, "rw")
@example(37, 113, 5, "rmlp")
@example(5, 400, "ratio", "official")
@example(5, 400, "ratio", "rmlp")
def test_all_maps_equal_the_naive_loop(height, width, window, style):
    net = smallest(window, style)
    image = torch.randn(1, 3, height, width, dtype=torch.double, generator=torch.Generator().manual_seed(height))
    with torch.no_grad():
        found = net.forward_intermediates(image, intermediates_only=True)
        expected = naive_maxvit.forward(net, image, window, STYLES[style][1])
    for k, (a, b) in enumerate(zip(found, expected, strict=True), start=1):
        assert a.shape[2:] == (-(-height // 2**k), -(-width // 2**k))
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * b.abs().max().item())


@settings(max_examples=8)
@given(st.integers(1, 90), st.integers(1, 90), windows, styles)
@example(31, 66, 3, "official")
@example(31, 66, 3, "rmlp")
@example(64, 97, "ratio", "official")
@example(64, 97, "ratio", "rw")
def test_all_gradients_equal_those_of_the_naive_loop(height, width, window, style):
    net = smallest(window, style)
    image = torch.randn(1, 3, height, width, dtype=torch.double, requires_grad=True)
    weights = [torch.randn(()) for _ in range(5)]
    found = sum(w * m.square().mean() for w, m in zip(weights, net.forward_intermediates(image)[1], strict=True))
    naive = naive_maxvit.forward(net, image, window, STYLES[style][1])
    expected = sum(w * m.square().mean() for w, m in zip(weights, naive, strict=True))
    torch.testing.assert_close(
        *(torch.autograd.grad(loss, image, retain_graph=True)[0] for loss in (found, expected)), rtol=1e-6, atol=1e-10
    )
    assert_same_gradients(net, found, expected)


@settings(max_examples=60)
@given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
    st.booleans(),
    st.tuples(st.integers(1, 12), st.integers(1, 12)),
)
@example(5, 5, (7, 7), True, (7, 7))
@example(14, 21, (7, 7), False, (7, 7))
@example(13, 29, (12, 1), True, (7, 3))
def test_one_attention_layer_equals_the_naive_loop(height, width, window, grid, table_window):
    layer = randomize(PartitionAttention(64, table_window).double())
    x = torch.randn(2, height, width, 64, dtype=torch.double, requires_grad=True)
    found = layer(x, make_partition(height, width, window, grid, x.device))
    expected = naive_maxvit.partition_attention(x, layer, window, grid)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
    seed = torch.randn_like(found)
    inputs = [x, *layer.parameters()]
    for a, b in zip(*(torch.autograd.grad(out, inputs, seed) for out in (found, expected)), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-8 * max(1.0, b.abs().max().item()))


@pytest.mark.parametrize("fill", [float("nan"), float("inf"), 1e30])
@pytest.mark.parametrize("grid", [False, True])
def test_whatever_surrounds_a_map_in_memory_changes_nothing(fill, grid):
    partition = make_partition(9, 17, (7, 4), grid, torch.device("cpu"))
    table = torch.randn(2, 13, 7)
    surrounded = torch.full((2, 14, 20, 192), fill)
    surrounded[:, :9, :17] = torch.randn(2, 9, 17, 192)
    crop = surrounded[:, :9, :17]
    results = []
    for qkv in (crop.clone(), crop):
        qkv = qkv.detach().requires_grad_()
        out = partition_attention(qkv, table, partition, 2)
        results.append((out.detach(), torch.autograd.grad(out.square().sum(), qkv)[0]))
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert results[0][0].isfinite().all()


@pytest.mark.parametrize("grid", [False, True])
def test_what_stands_in_for_added_positions_changes_nothing(grid):
    partition = make_partition(9, 17, (7, 4), grid, torch.device("cpu"))
    assert partition.outside.sum() == 14 * 20 - 9 * 17
    noisy = partition.tokens.clone()
    noisy[partition.whole :][partition.outside] = torch.randint(0, 9 * 17, (int(partition.outside.sum()),))
    qkv, table = torch.randn(1, 9, 17, 192, requires_grad=True), torch.randn(2, 13, 7)
    outs = [partition_attention(qkv, table, partition._replace(tokens=t), 2) for t in (partition.tokens, noisy)]
    assert torch.equal(*outs)
    grads = [torch.autograd.grad(out.square().sum(), qkv)[0] for out in outs]
    torch.testing.assert_close(*grads, rtol=0, atol=1e-6)


@pytest.mark.parametrize("grid", [False, True])
def test_nan_stays_inside_its_own_window(grid):
    height, width, window = 9, 17, (7, 4)
    qkv = torch.randn(1, height, width, 192)
    qkv[0, 0, 0] = torch.nan
    out = partition_attention(qkv, torch.randn(2, 13, 7), make_partition(height, width, window, grid, qkv.device), 2)
    tainted = next(iter(naive_maxvit.window_tokens(height, width, window, grid)))
    expected = torch.zeros(height, width, dtype=torch.bool)
    for _, (row, col) in tainted:
        expected[row, col] = True
    assert torch.equal(out[0].isnan().any(-1), expected)


@settings(max_examples=10)
@given(st.integers(1, 100), st.integers(1, 100), windows)
def test_an_image_alone_equals_the_same_image_in_a_batch(height, width, window):
    net = copy.deepcopy(MINI)
    net.set_input_size(window_size=window)
    images = torch.randn(3, 3, height, width)
    images[2] = torch.nan
    with torch.no_grad():
        together = net.forward_intermediates(images, intermediates_only=True)
        for i in range(2):
            alone = net.forward_intermediates(images[i : i + 1], intermediates_only=True)
            for a, b in zip(alone, together, strict=True):
                torch.testing.assert_close(a[0], b[i], rtol=1e-5, atol=1e-5)


@settings(max_examples=15)
@given(st.sampled_from(["maxvit_mini", "maxvit_pico"]), sides, sides, st.sets(st.integers(0, 4), min_size=1))
def test_features_are_rounded_up_at_every_size(name, height, width, indices):
    net = timm.create_model(name, features_only=True, out_indices=tuple(sorted(indices))).eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, height, width))
    for found, channels, stride in zip(maps, net.feature_info.channels(), net.feature_info.reduction(), strict=True):
        assert found.shape == (1, channels, -(-height // stride), -(-width // stride))


MINI = randomize(timm.create_model("maxvit_mini")).eval()


def test_gradients_keep_channels_last_memory_whatever_the_loss_hands_in():
    network = MaxViT(SMALLEST, num_classes=0).train()
    network.prune_intermediate_layers([2])
    layouts = []

    def note(module, grad_input, grad_output):
        layouts.append(grad_output[0].is_contiguous())

    for stage in network.stages:
        for block in stage.blocks:
            block.attn_grid.mlp.fc2.register_full_backward_hook(note)
    maps = network.forward_intermediates(torch.randn(2, 3, 64, 96), intermediates_only=True)
    torch.autograd.backward(maps, [torch.randn(m.shape) for m in maps])  # gradients in (B, C, H, W) memory
    assert layouts == [True] * len(layouts) != []
