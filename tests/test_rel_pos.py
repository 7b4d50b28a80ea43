"""The relative position bias: which entry belongs to which pair, and how a table is resized."""

import pytest
import timm
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from maxvit_dense.ops import plain
from maxvit_dense.ops.aligned_bias import expand_for_kernel
from maxvit_dense.ops.plain import expand_bias_table
from maxvit_dense.rel_pos import FlatRelPosBias, RelPosBias, RelPosMlp, resize_bias_table
from tests import naive_maxvit
from tests.networks import largest_difference

WINDOWS = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(WINDOWS)
def test_entry_of_a_pair_is_key_minus_query(window):
    ph, pw = window
    # An entry that tells its own row and column.
    table = torch.arange(2 * ph - 1.0)[:, None] * 100 + torch.arange(2 * pw - 1.0)
    bias = expand_bias_table(table[None], window)
    assert bias.shape == (1, ph * pw, ph * pw)
    query = torch.randint(ph * pw, (50,))
    key = torch.randint(ph * pw, (50,))
    rows = key // pw - query // pw + ph - 1
    cols = key % pw - query % pw + pw - 1
    assert torch.equal(bias[0, query, key], rows * 100.0 + cols)


def test_resizing_uses_half_pixel_centres_and_no_antialiasing():
    line = torch.tensor([[[0.0, 1.0, 2.0]]])
    doubled = [0.0, 0.25, 0.75, 1.25, 1.75, 2.0]
    torch.testing.assert_close(resize_bias_table(line, (1, 6)), torch.tensor([[doubled]]))
    spike = torch.tensor([[[0.0, 0.0, 9.0, 0.0, 0.0, 0.0]]])  # antialiasing would spread it over both neighbours
    torch.testing.assert_close(resize_bias_table(spike, (1, 2)), torch.tensor([[[0.0, 0.0]]]))


@given(trained=WINDOWS, used=WINDOWS)
def test_resizing_equals_the_written_out_rule_in_value_and_gradient(trained, used):
    torch.manual_seed(0)
    table = torch.randn(3, 2 * trained[0] - 1, 2 * trained[1] - 1, dtype=torch.float64, requires_grad=True)
    size = (2 * used[0] - 1, 2 * used[1] - 1)
    ours, theirs = resize_bias_table(table, size), naive_maxvit.resized_table(table, used)
    assert largest_difference(ours, theirs) < 1e-12
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weights).sum(), table)[0] for out in (ours, theirs)]
    assert largest_difference(*gradients) < 1e-12


def test_a_table_of_the_windows_own_size_is_read_unchanged():
    module = RelPosBias(num_heads=2, table_window=(7, 5))
    assert torch.equal(module((7, 5)), module.relative_position_bias_table)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_resizing_keeps_the_dtype(dtype):
    table = torch.randn(2, 13, 13)
    resized = resize_bias_table(table.to(dtype), (23, 23))
    assert resized.dtype == dtype
    exact = resize_bias_table(table.to(dtype).double(), (23, 23))
    # Computed in float32 or better and rounded once.
    assert largest_difference(resized.double(), exact) <= torch.finfo(dtype).eps * exact.abs().max()


@given(WINDOWS)
def test_every_entry_of_a_trained_table_gets_a_gradient_at_a_larger_window(window):
    module = RelPosBias(num_heads=2, table_window=window)
    table = module.relative_position_bias_table
    module((window[0] + 3, window[1] + 5)).sum().backward()
    assert (table.grad > 0).all()


def test_the_table_has_timms_name_and_layout():
    module = RelPosBias(num_heads=4, table_window=(7, 12))
    assert {name: tuple(value.shape) for name, value in module.state_dict().items()} == {
        "relative_position_bias_table": (4, 13, 23)
    }
    assert 0.015 < module.relative_position_bias_table.std() < 0.025


@pytest.mark.parametrize("window", [(7, 7), (3, 5), (1, 4), (8, 8)])
def test_the_bias_for_fused_kernels_is_the_plain_one_with_aligned_rows(window):
    table = torch.randn(2, 2 * window[0] - 1, 2 * window[1] - 1, dtype=torch.float64, requires_grad=True)
    plain, aligned = (
        expand_bias_table(table, window),
        expand_for_kernel(table, window, torch.float64),
    )
    assert torch.equal(plain, aligned) and aligned.stride(1) % 8 == 0
    weights = torch.randn_like(plain)
    expected, found = (torch.autograd.grad((weights * bias).sum(), table)[0] for bias in (plain, aligned))
    torch.testing.assert_close(found, expected)


def test_the_bias_for_fused_kernels_has_second_derivatives():
    table = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda t: expand_for_kernel(t, (2, 2), torch.float64).square(), table)


@pytest.mark.parametrize("at_edge", [False, True])
def test_fused_attention_of_a_gpu_equals_the_products_in_output_and_gradients(at_edge):
    windows = torch.randn(12, 35, 3, 2, 8, dtype=torch.float64, requires_grad=True)
    table = torch.randn(2, 13, 9, dtype=torch.float64, requires_grad=True)
    outside = (torch.arange(35) > torch.randint(35, (12, 1))) if at_edge else None

    def outcome(attend, bias):
        found = attend(*windows.unbind(2), bias, outside)
        return found, *torch.autograd.grad(found.square().sum(), (windows, table))

    ours = outcome(plain.attend_fused, expand_for_kernel(table, (7, 5), table.dtype))
    theirs = outcome(plain.attend_by_products, plain.expand_bias_table(table, (7, 5)))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


@given(WINDOWS, WINDOWS)
@example((8, 8), (8, 8))
def test_a_flat_table_and_an_mlp_answer_by_key_minus_query_too(table_window, window):
    torch.manual_seed(0)
    flat, mlp = FlatRelPosBias(3, (table_window[0],) * 2).double(), RelPosMlp(3, 16).double().eval()
    for module in (flat, mlp):
        assert largest_difference(module(window), naive_maxvit.positions(module, window)) < 1e-12


@pytest.mark.parametrize("kind", ["table", "mlp"])
def test_biases_of_pairs_are_those_of_timms_module(kind):
    theirs = dict(table=timm.layers.RelPosBias((8, 8), 3), mlp=timm.layers.RelPosMlp((8, 8), 3, hidden_dim=16))[kind]
    ours = dict(table=FlatRelPosBias(3, (8, 8)), mlp=RelPosMlp(3, 16))[kind].eval()
    ours.load_state_dict(theirs.eval().state_dict())
    assert largest_difference(expand_bias_table(ours((8, 8)), (8, 8)), theirs.get_bias()[0]) < 1e-6


def test_a_flat_table_from_a_checkpoint_is_resized_as_a_table_is():
    small, large = FlatRelPosBias(2, (7, 7)), FlatRelPosBias(2, (12, 9))
    resized = small.fitted(small.relative_position_bias_table)
    assert resized is small.relative_position_bias_table
    fitted = large.fitted(small.relative_position_bias_table)
    wanted = naive_maxvit.resized_table(small.relative_position_bias_table.view(13, 13, 2).permute(2, 0, 1), (12, 9))
    assert largest_difference(fitted.view(23, 17, 2).permute(2, 0, 1), wanted) < 1e-6
