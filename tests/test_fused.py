"""Networks folded for inference use oneDNN's fused operators on a CPU, and give what they gave before."""

from collections import Counter

import pytest
import timm
import torch
from networks import fill_with_noise, relative_difference, small_network
from timm.utils import reparameterize_model
from torch.utils.flop_counter import FlopCounterMode

from maxvit_dense.ops.cpu_inference import is_cpu_inference
from maxvit_dense.ops.fused import gelu_algorithm

SIZES = [(64, 64), (33, 50), (1, 7)]  # even, odd and below one window


def network_and_folded(name: str = "maxvit_mini", **kwargs):
    torch.manual_seed(0)
    if not kwargs.get("features_only"):
        kwargs["num_classes"] = 5
    network = timm.create_model(name, **kwargs)
    fill_with_noise(network)
    return network.eval(), reparameterize_model(network).eval()


def count_fused_calls(network, images) -> int:
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile, torch.no_grad():
        network(images)
    return sum(event.count for event in profile.key_averages() if "pointwise" in event.key)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tag", ["maxvit_mini", "maxvit_t.tv_in1k"])
def test_fused_operators_change_no_output(tag, size):
    network, folded = network_and_folded(tag)
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        torch.testing.assert_close(folded(images), network(images), rtol=1e-4, atol=1e-5)


def test_the_stem_and_every_block_of_a_folded_network_use_them():
    network, folded = network_and_folded()
    blocks = sum(len(stage.blocks) for stage in network.stages)
    images = torch.randn(1, 3, 32, 32)
    assert count_fused_calls(network, images) == 0
    assert count_fused_calls(folded, images) == 1 + 4 * blocks  # the stem; of a block two convolutions and two MLPs


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_autocast_reaches_them(dtype):
    network, folded = network_and_folded()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        reference = network(images)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            found = folded(images)
    # bfloat16 keeps 8 bits, and every layer rounds to them once.
    tolerance = 0.05 if dtype == torch.bfloat16 else 1e-4
    torch.testing.assert_close(found.float(), reference, rtol=tolerance, atol=tolerance * reference.abs().max().item())


def test_a_folded_network_still_has_gradients():
    network, folded = network_and_folded()
    images = torch.randn(1, 3, 32, 32)
    expected, found = images.clone().requires_grad_(), images.clone().requires_grad_()
    network(expected).sum().backward()
    folded(found).sum().backward()
    torch.testing.assert_close(found.grad, expected.grad, rtol=1e-3, atol=1e-5)


def test_counters_and_tracers_see_pytorchs_own_operators():
    network, folded = network_and_folded()
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad(), FlopCounterMode(display=False) as plain:
        network(images)
    with torch.no_grad(), FlopCounterMode(display=False) as counted:
        folded(images)
    assert counted.get_total_flops() == plain.get_total_flops() > 0
    with torch.no_grad():
        traced = torch.jit.trace(folded, images)
    assert "pointwise" not in str(traced.inlined_graph)


def test_compiling_keeps_them_in_one_program_for_every_size():
    network = small_network().eval()
    network.prune_intermediate_layers([1])
    folded, graphs = reparameterize_model(network), []

    def note(graph, _):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    compiled = torch.compile(folded, backend=note, dynamic=True, fullgraph=True)
    with torch.no_grad():
        for size in ((70, 50), (64, 48), (41, 66)):
            images = torch.randn(1, 3, *size)
            assert relative_difference(compiled(images), network(images)) < 1e-5
    (graph,) = graphs
    names = [str(node.target) for node in graph.graph.nodes]
    steps = Counter(name.split(".")[1] for name in names if name.startswith("maxvit_dense"))
    # The stem and one block: an MBConv of stride 2, two attention layers.
    assert steps == dict(
        conv_gelu=2, expand_padded=1, halving_avg_pool2d=1, window_attention=2, linear_gelu=2, linear_add=4
    )


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (1, 1)])
def test_operators_for_the_compiler_keep_pytorchs_rules(size):
    """Schema, shape, dtype and memory layout of what they say they return, with free sizes too."""
    operators, edges = torch.ops.maxvit_dense, [1, 1, 1, 1]
    tokens = torch.randn(2, *size, 8)
    maps = tokens.permute(0, 3, 1, 2)
    wide, narrow = torch.randn(16, 8), torch.randn(8, 8)
    arguments = {
        "conv_gelu": (maps, torch.randn(8, 1, 3, 3), torch.randn(8), edges, [0, 0], [2, 2], [1, 1], 8, "tanh"),
        "expand_padded": (maps, wide[..., None, None], torch.randn(16), edges, "none"),
        "halving_avg_pool2d": (maps, True),
        "window_attention": (torch.randn(2, *size, 96), torch.randn(1, 5, 5), [3, 3], True, 1),
        "linear_gelu": (tokens, wide, torch.randn(16), "tanh"),
        "linear_add": (tokens, narrow, torch.randn(8), tokens),
    }
    for name, args in arguments.items():
        torch.library.opcheck(getattr(operators, name).default, args)


@pytest.mark.parametrize("tag", ["maxvit_mini", "maxvit_t.tv_in1k"])
def test_compiled_networks_give_what_eager_ones_give(tag):
    """Through Inductor, with the real layers of one stage of each kind of weights, a window larger than the map too."""
    network, folded = network_and_folded(tag, features_only=True, out_indices=(1,))
    torch._dynamo.reset()
    compiled = torch.compile(folded)
    for size in ((31, 45), (20, 8)):
        images = torch.randn(2, 3, *size)
        with torch.no_grad():
            (expected,), (found,) = network(images), compiled(images)
        assert relative_difference(found, expected) < 1e-5
        assert found.stride() == expected.stride()


def test_exported_networks_have_pytorchs_own_operators():
    folded = reparameterize_model(small_network().eval())
    with torch.no_grad():
        program = torch.export.export(folded, (torch.randn(1, 3, 64, 64),))
    assert "gelu" in str(program.graph) and "maxvit_dense" not in str(program.graph)


def test_other_devices_dtypes_and_activations_are_left_alone():
    with torch.no_grad():
        assert is_cpu_inference(torch.zeros(1))
        assert not is_cpu_inference(torch.zeros(1, device="meta"))
        assert not is_cpu_inference(torch.zeros(1, dtype=torch.float64))
        assert not is_cpu_inference(torch.zeros(0))
    assert not is_cpu_inference(torch.zeros(1))
    assert gelu_algorithm(torch.nn.GELU()) == "none"
    assert gelu_algorithm(torch.nn.GELU(approximate="tanh")) == "tanh"
    assert gelu_algorithm(torch.nn.SiLU()) == ""


def test_inf_and_nan_reach_the_same_outputs():
    network, folded = network_and_folded("maxvit_mini", window_size=4)
    images = torch.randn(2, 3, 64, 64)
    images[0, 0, 10, 10], images[1, 1, 3, 60] = float("nan"), float("inf")
    with torch.no_grad():
        for expected, found in zip(
            network.forward_intermediates(images, intermediates_only=True),
            folded.forward_intermediates(images, intermediates_only=True),
            strict=True,
        ):
            assert torch.equal(expected.isfinite(), found.isfinite())
