"""Where the tokens of a map go, checked against the windows as the contract lists them."""

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from maxvit_dense.ops import partition_attention
from maxvit_dense.ops.plain import attention_weights
from maxvit_dense.partition import Partition, make_partition
from maxvit_dense.partition_cache import find_partitions
from tests import naive_maxvit
from tests.networks import largest_difference

CPU = torch.device("cpu")
SIDE = st.integers(1, 60)
WINDOW = st.tuples(st.integers(1, 12), st.integers(1, 12))


def slots_outside(partition: Partition) -> torch.Tensor:
    """(nW, N) bool, of all windows."""
    outside = torch.zeros_like(partition.tokens, dtype=torch.bool)
    if partition.outside is not None:
        outside[partition.whole :] = partition.outside
    return outside


def windows_of(partition: Partition) -> list[dict[int, int]]:
    """What each window's real slots read, by slot."""
    rows = zip(partition.tokens.tolist(), slots_outside(partition).tolist(), strict=True)
    return [{n: token for n, token in enumerate(read) if not out[n]} for read, out in rows]


@given(SIDE, SIDE, WINDOW, st.booleans())
@example(1, 1, (7, 7), True)
@example(59, 13, (7, 12), True)
def test_every_window_holds_the_tokens_that_the_contract_lists(height, width, window, grid):
    partition = make_partition(height, width, window, grid, CPU, sort=False)
    listed = [
        {a * window[1] + b: row * width + col for (a, b), (row, col) in tokens}
        for tokens in naive_maxvit.window_tokens(height, width, window, grid)
    ]
    assert windows_of(partition) == listed
    # Slots outside the map read a token of their own window, so they add no reading of another.
    for read, real in zip(partition.tokens.tolist(), listed, strict=True):
        assert set(read) == set(real.values())


@given(SIDE, SIDE, WINDOW, st.booleans())
@example(59, 13, (7, 12), True)
def test_sorting_puts_the_windows_inside_the_map_first(height, width, window, grid):
    in_order = make_partition(height, width, window, grid, CPU, sort=False)
    partition = make_partition(height, width, window, grid, CPU)
    whole = [len(tokens) == window[0] * window[1] for tokens in windows_of(in_order)]
    assert partition.whole == sum(whole)
    firsts = [tokens for tokens, is_whole in zip(windows_of(in_order), whole, strict=True) if is_whole]
    others = [tokens for tokens, is_whole in zip(windows_of(in_order), whole, strict=True) if not is_whole]
    assert windows_of(partition) == firsts + others


@given(SIDE, SIDE, WINDOW, st.booleans(), st.booleans())
def test_what_is_cut_is_put_back(height, width, window, grid, sort):
    partition = make_partition(height, width, window, grid, CPU, sort)
    assert torch.equal(partition.tokens.flatten()[partition.slots], torch.arange(height * width))
    divides = height % window[0] == 0 and width % window[1] == 0
    assert (partition.outside is None) == divides
    outside = slots_outside(partition)
    assert not outside.flatten()[partition.slots].any()
    assert (~outside).sum() == height * width
    assert not outside[:, 0].any()  # softmax always has something to sum over


@given(st.integers(1, 8), st.integers(1, 8), WINDOW)
def test_grid_is_block_with_windows_and_places_exchanged(rows, cols, window):
    height, width = rows * window[0], cols * window[1]
    grid = make_partition(height, width, window, True, CPU).tokens.view(rows, cols, *window)
    block = make_partition(height, width, (rows, cols), False, CPU).tokens.view(*window, rows, cols)
    assert torch.equal(grid, block.permute(2, 3, 0, 1))


def test_a_stage_gets_block_then_grid():
    block, grid = find_partitions(torch.zeros(()), 10, 12, (3, 4))
    assert torch.equal(block.tokens, make_partition(10, 12, (3, 4), False, CPU).tokens)
    assert torch.equal(grid.tokens, make_partition(10, 12, (3, 4), True, CPU).tokens)


def test_partitions_of_a_batch_are_made_once_and_give_what_those_of_one_map_give():
    qkv, table = torch.randn(3, 9, 17, 48), torch.randn(2, 5, 7)
    kept = find_partitions(qkv, 9, 17, (3, 4), 3)
    assert kept[0] is find_partitions(qkv, 9, 17, (3, 4), 3)[0] and kept[0].images == 3
    for of_batch, of_map in zip(kept, find_partitions(qkv, 9, 17, (3, 4)), strict=True):
        expected = [partition_attention(image[None], table, of_map, 2) for image in qkv]
        torch.testing.assert_close(partition_attention(qkv, table, of_batch, 2), torch.cat(expected))


def test_a_partition_made_in_inference_serves_training():
    size = (11, 19)  # of no other test
    with torch.inference_mode():
        find_partitions(torch.zeros(()), *size, (3, 4))
    qkv = torch.randn(1, *size, 96, requires_grad=True)
    for partition in find_partitions(qkv, *size, (3, 4)):
        partition_attention(qkv, torch.randn(1, 5, 7), partition, 1).sum().backward()


def test_a_partition_made_of_fake_tensors_is_not_kept():
    size = (12, 23)
    with FakeTensorMode():
        find_partitions(torch.zeros(()), *size, (3, 4))
    assert type(find_partitions(torch.zeros(()), *size, (3, 4))[0].tokens) is torch.Tensor


@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_on_a_batch_equals_the_naive_loop_in_working_precisions(grid, dtype):
    qkv, table = torch.randn(3, 17, 30, 192), torch.randn(2, 9, 13)
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


@given(SIDE, SIDE, WINDOW, st.booleans())
@example(9, 17, (7, 4), True)
def test_the_weights_that_are_shown_are_those_that_were_used(height, width, window, grid):
    qkv = torch.randn(2, height, width, 3 * 64, dtype=torch.float64)
    table = torch.randn(2, 2 * window[0] - 1, 2 * window[1] - 1, dtype=torch.float64)
    partition = make_partition(height, width, window, grid, CPU)
    weights = attention_weights(qkv, table, partition, 2).unflatten(0, (-1, 2))  # of each window, both images
    values = qkv[..., 128:].reshape(2, -1, 2, 32)[:, partition.tokens]  # (B, nW, N, h, D)
    out = torch.einsum("wbhqk,bwkhd->bwqhd", weights, values).reshape(2, -1, 64)[:, partition.slots]
    assert largest_difference(out.view(2, height, width, 64), partition_attention(qkv, table, partition, 2)) < 1e-12
