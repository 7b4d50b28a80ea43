"""Recomputing activations changes memory, and neither gradients nor BatchNorm's running statistics."""

import copy

import pytest
import timm
import torch
from torch import nn

from maxvit_dense.recompute import run_block


def step(network: nn.Module, images: torch.Tensor, mode, stages=None) -> nn.Module:
    network = copy.deepcopy(network).train()
    network.set_grad_checkpointing(mode, stages=stages)
    network(images).square().sum().backward()
    return network


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return timm.create_model("maxvit_mini", num_classes=3)


@pytest.mark.parametrize("mode", [True, "cheap"])
@pytest.mark.parametrize("stages", [None, [0, 2]])
def test_gradients_and_statistics_are_those_of_a_plain_step(network, mode, stages):
    images = torch.randn(2, 3, 64, 48)
    expected, found = step(network, images, False), step(network, images, mode, stages)
    for (name, p), (_, q) in zip(expected.named_parameters(), found.named_parameters(), strict=True):
        torch.testing.assert_close(q.grad, p.grad, msg=lambda m, name=name: f"{name}: {m}")
    for (name, p), (_, q) in zip(expected.named_buffers(), found.named_buffers(), strict=True):
        assert torch.equal(q, p), name


def kept_megabytes(network: nn.Module, images: torch.Tensor, mode) -> float:
    """Growth of what is allocated between the start of a forward pass and its end."""
    network = copy.deepcopy(network).train()
    network.set_grad_checkpointing(mode)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        output = network(images)
    assert output.requires_grad
    return sum(event.self_cpu_memory_usage for event in profile.key_averages()) / 1e6


def test_each_mode_keeps_less_than_the_one_before(network):
    images = torch.randn(2, 3, 96, 96)
    plain, cheap, full = (kept_megabytes(network, images, mode) for mode in (False, "cheap", True))
    assert cheap < 0.7 * plain
    assert full < 0.5 * cheap


def test_statistics_move_again_after_a_step(network):
    once = step(network, torch.randn(2, 3, 64, 64), True)
    norm = once.stages[0].blocks[0].conv.norm1
    assert norm.momentum == 0.01 and norm.num_batches_tracked == 1


@pytest.mark.parametrize("mode", [True, "cheap"])
def test_the_backward_pass_leaves_the_modules_alone(network, mode):
    network, seen = copy.deepcopy(network).train(), []
    network.set_grad_checkpointing(mode)
    norm = network.stages[0].blocks[0].conv.norm1
    counter = norm.num_batches_tracked
    norm.register_forward_hook(lambda m, *_: seen.append((m.momentum, m.num_batches_tracked is counter)))
    network(torch.randn(2, 3, 64, 64)).sum().backward()
    assert seen == [(0.01, True)] * 2  # in the forward pass and in its repetition


@pytest.mark.parametrize("mode", ["most", 1.5, None])
def test_a_mode_that_does_not_exist_is_refused(network, mode):
    with pytest.raises(ValueError, match="'cheap'"):
        network.set_grad_checkpointing(mode)


def test_a_stage_that_does_not_exist_is_refused(network):
    with pytest.raises(ValueError, match="stages 0 to 3"):
        network.set_grad_checkpointing(True, stages=[4])


def test_a_block_of_other_parts_runs_plainly():
    block = nn.Linear(3, 3)
    x = torch.randn(2, 3)
    torch.testing.assert_close(run_block(block, False, x), block(x))
