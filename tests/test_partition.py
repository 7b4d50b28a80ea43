"""Where the tokens of a map go, checked against the windows as the contract lists them."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from maxvit_dense.ops import partition_attention
from maxvit_dense.partition import flat_index, make_partition, make_partitions
from tests import naive_maxvit
from tests.networks import largest_difference

CPU = torch.device("cpu")
SIDE = st.integers(1, 60)
WINDOW = st.tuples(st.integers(1, 12), st.integers(1, 12))


@given(SIDE, SIDE, WINDOW, st.booleans())
@example(1, 1, (7, 7), True)
@example(59, 13, (7, 12), True)
def test_every_window_holds_the_tokens_that_the_contract_lists(height, width, window, grid):
    partition = make_partition(height, width, window, grid, CPU)
    tokens = partition.tokens.view(-1, window[0] * window[1]).tolist()
    inside = torch.ones(len(tokens), window[0] * window[1], dtype=torch.bool)
    if partition.mask is not None:
        inside = partition.mask[:, 0, 0]
    listed = list(naive_maxvit.window_tokens(height, width, window, grid))
    assert len(tokens) == len(listed)
    for read, real, expected in zip(tokens, inside.tolist(), listed, strict=True):
        places = {a * window[1] + b: row * width + col for (a, b), (row, col) in expected}
        assert {n: position for n, position in enumerate(read) if real[n]} == places
        # Slots outside the map read a token of their own window, so they add no reading of another.
        assert set(read) == set(places.values())


@given(SIDE, SIDE, WINDOW, st.booleans())
def test_what_is_cut_is_put_back(height, width, window, grid):
    partition = make_partition(height, width, window, grid, CPU)
    assert torch.equal(partition.tokens[partition.slots], torch.arange(height * width))
    divides = height % window[0] == 0 and width % window[1] == 0
    assert (partition.mask is None) == divides
    if not divides:
        assert partition.mask.flatten()[partition.slots].all()
        assert partition.mask.sum() == height * width
        assert partition.mask[..., 0].all()  # softmax always has something to sum over


@given(st.integers(1, 8), st.integers(1, 8), WINDOW)
def test_grid_is_block_with_windows_and_places_exchanged(rows, cols, window):
    height, width = rows * window[0], cols * window[1]
    grid = make_partition(height, width, window, True, CPU).tokens.view(rows, cols, *window)
    block = make_partition(height, width, (rows, cols), False, CPU).tokens.view(*window, rows, cols)
    assert torch.equal(grid, block.permute(2, 3, 0, 1))


def test_a_stage_gets_block_then_grid():
    block, grid = make_partitions(10, 12, (3, 4), CPU)
    assert torch.equal(block.tokens, make_partition(10, 12, (3, 4), False, CPU).tokens)
    assert torch.equal(grid.tokens, make_partition(10, 12, (3, 4), True, CPU).tokens)


def test_an_index_is_repeated_for_every_image():
    assert flat_index(torch.tensor([2, 0]), 3, 5).tolist() == [2, 0, 7, 5, 12, 10]


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_on_a_batch_equals_the_naive_loop_in_working_precisions(grid, dtype):
    qkv, table = torch.randn(3, 17, 30, 192), torch.randn(2, 13, 13)
    qkv = qkv.to(dtype)
    partition = make_partition(17, 30, (5, 7), grid, CPU)
    ours = partition_attention(qkv, table, partition, 2)
    theirs = naive_maxvit.attend(qkv.double(), table.double(), (5, 7), grid, 2)
    assert ours.dtype == dtype and ours.is_contiguous()
    assert largest_difference(ours.double(), theirs) < (2e-6 if dtype == torch.float32 else 0.03)


@pytest.mark.parametrize("grid", [False, True])
def test_attention_runs_on_an_empty_batch(grid):
    qkv = torch.randn(0, 9, 5, 96)
    assert partition_attention(qkv, torch.randn(1, 13, 13), make_partition(9, 5, (7, 7), grid, CPU), 1).shape == (
        (0, 9, 5, 32)
    )


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("size", [(4, 6), (5, 4)])  # without and with slots outside the map
def test_attention_has_first_and_second_derivatives(grid, size):
    partition = make_partition(*size, (2, 3), grid, CPU)
    qkv = torch.randn(2, *size, 3 * 4, dtype=torch.float64, requires_grad=True)
    table = torch.randn(2, 3, 5, dtype=torch.float64, requires_grad=True)

    def attention(qkv, table):
        return partition_attention(qkv, table, partition, num_heads=2)

    assert torch.autograd.gradcheck(attention, (qkv, table))
    assert torch.autograd.gradgradcheck(attention, (qkv, table))


def test_gradients_of_single_images_are_those_of_the_batch():
    partition = make_partition(5, 4, (2, 3), True, CPU)
    qkv, table = torch.randn(3, 5, 4, 3 * 8), torch.randn(2, 3, 5)

    def energy(qkv):
        return partition_attention(qkv, table, partition, num_heads=2).square().sum()

    single = torch.func.vmap(torch.func.grad(lambda image: energy(image[None])))(qkv)
    assert largest_difference(single, torch.func.grad(energy)(qkv)) < 1e-5
