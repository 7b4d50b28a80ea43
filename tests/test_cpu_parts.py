"""Attention in parts equals the loops written from the rules, in results and gradients, and keeps no scores."""

import copy

import pytest
import timm
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from maxvit_dense.ops import cpu_parts, partition_attention
from maxvit_dense.ops.attend import attend_by_products
from maxvit_dense.partition import make_partition
from tests import naive_maxvit
from tests.networks import largest_difference

CPU = torch.device("cpu")
SHIPPED = cpu_parts.LEAST_BYTES, cpu_parts.PART_BYTES


@pytest.fixture(scope="module", autouse=True)
def small_parts():
    """Every map in parts, of a few small windows each. For the module: hypothesis forbids a fixture for each test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_parts, "LEAST_BYTES", 0)
        patch.setattr(cpu_parts, "PART_BYTES", 4000)
        yield


def gradients(attend, qkv, table, *args):
    """Results of attention, and gradients of a fixed sum of them."""
    qkv, table = qkv.detach().requires_grad_(), table.detach().requires_grad_()
    out = attend(qkv, table, *args)
    weights = torch.linspace(-1, 1, out.numel(), dtype=torch.float64).view(out.shape).to(out.dtype)
    return out.detach(), *torch.autograd.grad(out, (qkv, table), weights)


def assert_equals_loops(qkv, table, window, grid, tolerance):
    heads = table.shape[0]
    partition = make_partition(*qkv.shape[1:3], window, grid, CPU)
    found = gradients(partition_attention, qkv, table, partition, heads)
    expected = gradients(naive_maxvit.attend, qkv.double(), table.double(), window, grid, heads)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.dtype == qkv.dtype
        assert largest_difference(ours.double(), theirs) < tolerance * theirs.abs().max().clamp_min(1)
    with torch.no_grad():
        assert torch.equal(partition_attention(qkv, table, partition, heads), found[0])


SIDE = st.integers(2, 24)
WINDOW = st.tuples(st.integers(1, 7), st.integers(1, 7))


@given(st.integers(1, 3), SIDE, SIDE, WINDOW, st.integers(1, 3), st.booleans())
def test_any_map_and_window_equals_the_loops(batch, height, width, window, heads, grid):
    qkv = torch.randn(batch, height, width, 3 * heads * 8, dtype=torch.float64)
    table = torch.randn(heads, 2 * window[0] - 1, 2 * window[1] - 1, dtype=torch.float64)
    assert_equals_loops(qkv, table, window, grid, 1e-10)


# bfloat16: scores, weights and their gradients are rounded to 8 bits, as they are by products (0.02 measured there).
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 5e-6), (torch.bfloat16, 0.05)])
@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("size", [(18, 28), (17, 30)])  # without and with slots outside the map
def test_working_precisions_equal_the_loops(dtype, tolerance, grid, size):
    qkv, table = torch.randn(2, *size, 192).to(dtype), torch.randn(2, 17, 13).to(dtype)
    assert_equals_loops(qkv, table, (9, 7), grid, tolerance)


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (5, 4)])
@pytest.mark.parametrize("of", [(True, True), (True, False), (False, True)])
def test_first_and_second_derivatives(grid, size, of):
    partition = make_partition(*size, (2, 3), grid, CPU)
    qkv = torch.randn(2, *size, 3 * 4, dtype=torch.float64, requires_grad=of[0])
    table = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=of[1])

    def attention(qkv, table):
        return partition_attention(qkv, table, partition, num_heads=2)

    assert torch.autograd.gradcheck(attention, (qkv, table))
    assert torch.autograd.gradgradcheck(attention, (qkv, table))


@pytest.fixture
def products():
    """Calls with attention by products in place of parts."""

    def call(run, *args):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(cpu_parts, "LEAST_BYTES", 1 << 60)
            return run(*args)

    return call


@pytest.mark.parametrize("size", [(18, 28), (17, 30)])
def test_bfloat16_scores_far_from_zero_are_normalised_as_by_products(products, size):
    qkv, table = 5 * torch.randn(2, *size, 192), torch.randn(2, 17, 13).bfloat16()
    partition = make_partition(*size, (9, 7), False, CPU)
    exact = gradients(partition_attention, qkv.bfloat16().double(), table.double(), partition, 2)
    by_parts = gradients(partition_attention, qkv.bfloat16(), table, partition, 2)
    by_products = products(gradients, partition_attention, qkv.bfloat16(), table, partition, 2)
    for wanted, parts, theirs in zip(exact, by_parts, by_products, strict=True):
        allowed = 1.2 * largest_difference(theirs.double(), wanted) + 1e-3 * wanted.abs().max()
        assert largest_difference(parts.double(), wanted) < allowed


def test_several_gradients_at_once():
    partition = make_partition(5, 4, (2, 3), True, CPU)
    qkv, table = torch.randn(1, 5, 4, 3 * 8, requires_grad=True), torch.randn(2, 3, 5, requires_grad=True)
    out = partition_attention(qkv, table, partition, 2)
    vectors = torch.randn(3, *out.shape)
    together = torch.autograd.grad(out, (qkv, table), vectors, is_grads_batched=True, retain_graph=True)
    for i, vector in enumerate(vectors):
        alone = torch.autograd.grad(out, (qkv, table), vector, retain_graph=True)
        torch.testing.assert_close([gradient[i] for gradient in together], list(alone))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf"), 1e30])
@pytest.mark.parametrize("size", [(12, 18), (13, 17)])
def test_values_without_bounds_reach_what_products_let_them_reach(products, value, size):
    qkv, table = torch.randn(2, *size, 96), torch.randn(1, 11, 11)
    qkv[0, 2, 3], qkv[1, -1, -1, 0] = value, value
    partition = make_partition(*size, (6, 6), True, CPU)
    parts = gradients(partition_attention, qkv, table, partition, 1)
    whole = products(gradients, partition_attention, qkv, table, partition, 1)
    assert torch.equal(parts[0].isfinite(), whole[0].isfinite())
    ours, theirs = (found[0].nan_to_num(0, 0, 0) for found in (parts, whole))
    assert largest_difference(ours, theirs) < 1e-5 * theirs.abs().max()
    # Which of a window's gradients turn NaN depends on where zero meets infinity; a loss scaler asks for any.
    for ours, theirs in zip(parts[1:], whole[1:], strict=True):
        assert not ours.isfinite().all() and not theirs.isfinite().all()


def kept_bytes(run) -> int:
    """Of what a forward pass stores for its backward pass, each storage once."""
    found = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        found[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = run()
    assert output.requires_grad
    return sum(found.values())


@pytest.mark.parametrize("size", [(48, 64), (47, 63)])
def test_no_scores_are_kept(size):
    qkv = torch.randn(1, *size, 192, requires_grad=True)
    table = torch.randn(2, 47, 47, requires_grad=True)
    partition = make_partition(*size, (24, 16), False, CPU)
    scores = 8 * 2 * 384**2 * 4
    bias_and_its_index = 2 * 384**2 * 4 + 2 * 384**2 * 8
    kept = kept_bytes(lambda: partition_attention(qkv, table, partition, 2))
    assert kept < 2 * qkv.nbytes + bias_and_its_index < scores


def gradients_of(network, images, autocast=False):
    network = copy.deepcopy(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(images).float().square().sum()
    loss.backward()
    return [p.grad for p in network.parameters()]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("maxvit_mini", num_classes=3).train()


@pytest.mark.parametrize("mode", [True, "cheap"])
def test_gradients_are_the_same_when_activations_are_recomputed(monkeypatch, network, mode):
    images = torch.randn(2, 3, 80, 48)
    expected = gradients_of(network, images)
    calls = []
    attend = cpu_parts.attend_in_parts
    monkeypatch.setattr("maxvit_dense.ops.plain.attend_in_parts", lambda *args: calls.append(1) or attend(*args))
    recomputing = copy.deepcopy(network)
    recomputing.set_grad_checkpointing(mode)
    torch.testing.assert_close(gradients_of(recomputing, images), expected)
    layers = sum(1 for name, _ in network.named_modules() if name.endswith(".attn"))
    assert len(calls) == 2 * layers  # in the forward pass and in its repetition


def test_autocast_trains_as_by_products(products, network):
    images = torch.randn(2, 3, 80, 48)
    exact = gradients_of(network, images)
    parts, whole = gradients_of(network, images, True), products(gradients_of, network, images, True)
    differences = [
        sum(largest_difference(f, e) / e.abs().max().clamp_min(1e-6) for f, e in zip(found, exact, strict=True))
        for found in (parts, whole)
    ]
    assert differences[0] < 1.2 * differences[1]


def test_windows_in_another_precision_than_autocasts_are_left_to_products():
    windows = windows_of()
    with torch.autocast("cpu", torch.bfloat16):
        assert not cpu_parts.can_attend_in_parts(windows)
        assert cpu_parts.can_attend_in_parts(windows.bfloat16())


def windows_of(dtype=torch.float32):
    return torch.randn(6, 9, 3, 2, 8).to(dtype)


def test_only_what_nobody_observes_is_done_in_parts():
    windows = windows_of()
    assert cpu_parts.can_attend_in_parts(windows)
    assert not cpu_parts.can_attend_in_parts(windows_of(torch.float16))
    with FlopCounterMode(display=False):
        assert not cpu_parts.can_attend_in_parts(windows)
    assert not cpu_parts.can_attend_in_parts(windows.to("meta"))
    seen = []

    def ask(x):
        seen.append(cpu_parts.can_attend_in_parts(x))
        return x + 1

    torch.func.vmap(ask)(windows[None])
    torch.jit.trace(ask, windows, check_trace=False)
    torch.compile(ask, backend="eager")(windows)
    assert len(seen) >= 3 and not any(seen)


def test_gradients_of_single_images_are_those_of_the_batch():
    partition = make_partition(5, 4, (2, 3), True, CPU)
    qkv, table = torch.randn(3, 5, 4, 3 * 8), torch.randn(2, 3, 5)

    def energy(qkv):
        return partition_attention(qkv, table, partition, num_heads=2).square().sum()

    single = torch.func.vmap(torch.func.grad(lambda image: energy(image[None])))(qkv)
    whole = qkv.clone().requires_grad_()
    energy(whole).backward()
    assert largest_difference(single, whole.grad) < 1e-5


def test_real_sizes_are_done_in_parts_where_scores_are_large(monkeypatch):
    monkeypatch.setattr(cpu_parts, "LEAST_BYTES", SHIPPED[0])
    monkeypatch.setattr(cpu_parts, "PART_BYTES", SHIPPED[1])
    assert cpu_parts.can_attend_in_parts(torch.empty(1392, 49, 3, 2, 32))  # stride 4 of 800x1333
    assert not cpu_parts.can_attend_in_parts(torch.empty(512, 49, 3, 2, 32))  # of eight images of 224x224
    windows, bias = torch.randn(4, 1092, 3, 8, 32, requires_grad=True), torch.randn(8, 1092, 1092, requires_grad=True)
    found = []
    for attend in (cpu_parts.attend_in_parts, attend_by_products):
        out = attend(windows, bias, None, 1)
        found.append((out, *torch.autograd.grad(out.square().sum(), (windows, bias))))
    for ours, theirs in zip(*found, strict=True):
        assert largest_difference(ours, theirs) < 5e-6 * theirs.abs().max()
