"""What PyTorch and timm make of a network: recomputed, folded, scripted, traced, compiled, exported, at any size."""

import copy

import pytest
import timm
import torch
import torch._inductor.config as inductor_config
import torch.fx.experimental._config as fx_config
from timm.utils import reparameterize_model
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import fill_with_noise, images, mini, relative_difference, same_maps, small_network


def assert_same(other, network, *sizes, batch=2):
    for size in sizes:
        x = images(*size, batch=batch)
        assert relative_difference(other(x), network(x)) < 1e-5


@pytest.mark.parametrize("window_size", [7, 5])
def test_gradient_checkpointing_changes_no_output_and_no_gradient(window_size):
    network, x = mini(window_size=window_size).train(), images(70, 50)
    results = []
    for enable in (False, True):
        copied = copy.deepcopy(network)
        copied.set_grad_checkpointing(enable)
        logits = copied(x)
        logits.square().sum().backward()
        results.append([logits, *(p.grad for p in copied.parameters())])
    assert same_maps(*results, 1e-6)


def test_gradient_checkpointing_keeps_fewer_activations():
    def kept(enable):
        network, sizes = mini().train(), []
        network.set_grad_checkpointing(enable)
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t):
            network(images(64, 64))
        return sum(sizes)

    assert kept(True) < 0.5 * kept(False)


def test_reparameterizing_folds_every_batch_norm_and_keeps_the_outputs():
    network = mini(window_size=5)
    folded = reparameterize_model(network)
    for size in ((70, 50), (33, 65)):
        x = images(*size)
        assert relative_difference(folded.forward_features(x), network.forward_features(x)) < 1e-5
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert any(isinstance(m, nn.BatchNorm2d) for m in network.modules())  # on a copy


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("window_size", [7, "ratio"])
def test_torchscript_gives_the_same_logits_at_any_size(window_size):
    network = mini(window_size=window_size)
    script = torch.jit.script(network)
    assert_same(script, network, (64, 64), (70, 50), (5, 101))


def test_a_traced_graph_gives_the_same_logits_at_any_size():
    network = mini()
    graph = torch.fx.symbolic_trace(network)
    assert_same(graph, network, (64, 64), (70, 50), (224, 224), batch=1)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.torch.jit.:FutureWarning")
@pytest.mark.parametrize("window_size", [7, "ratio"])
def test_a_trace_gives_the_same_logits_at_any_size(window_size):
    network = small_network(window_size=window_size)
    trace = torch.jit.trace(network, images(64, 64))
    assert_same(trace, network, (64, 64), (224, 224), (70, 50), (5, 101))


def test_compiling_once_serves_every_size():
    network, graphs = small_network(), []

    def count(graph, _):
        graphs.append(graph)
        return graph

    torch.compiler.reset()
    compiled = torch.compile(network, backend=count, dynamic=True, fullgraph=True)
    assert_same(compiled, network, (250, 290), (241, 333), (300, 260), (448, 448))
    assert len(graphs) == 1


def first_stage(**kwargs) -> nn.Module:
    """Stem and one block: every kind of layer, at a fraction of the whole network's time to compile."""
    network = small_network(**kwargs)
    network.prune_intermediate_layers([1])
    return network


def test_a_training_step_compiled_once_serves_every_size():
    network = first_stage(window_size=5).train()
    compiled, counter = copy.deepcopy(network), CompileCounterWithBackend("aot_eager")
    torch.compiler.reset()
    step = torch.compile(compiled, backend=counter, fullgraph=True)
    for size in ((70, 50), (71, 90)):  # halved: 18x13, 18x23
        x, gradients = images(*size), []
        torch._dynamo.mark_dynamic(x, [2, 3])
        for called, owner in ((step, compiled), (network, network)):
            owner.zero_grad()
            called(x).square().sum().backward()
            # All in units of the largest: that of a bias before BatchNorm is 0 but for rounding.
            gradients.append(torch.cat([p.grad.flatten() for p in owner.parameters()]))
        assert relative_difference(*gradients) < 1e-5
    assert counter.frame_count == (1 if torch.__version__ >= "2.8" else 2)  # the older asks which sides are odd


@pytest.mark.requires_compiler
def test_inductor_gives_the_same_maps(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network, x = first_stage(window_size=5), images(70, 50)
    torch.compiler.reset()
    with torch.no_grad(), inductor_config.patch(compile_threads=1):
        assert relative_difference(torch.compile(network)(x), network(x)) < 1e-5


needs_recent_export = pytest.mark.skipif(
    torch.__version__ < "2.8", reason="needs PyTorch 2.8, whose torch.export leaves sizes to run-time checks"
)


def export(network: nn.Module, x: torch.Tensor, smallest: int):
    side = {axis: torch.export.Dim(name, min=smallest, max=4096) for axis, name in ((2, "height"), (3, "width"))}
    # Deferred: PyTorch cannot prove that 1 is no multiple of a row's length, which its BatchNorm asks in passing.
    return torch.export.export(
        network, (x,), dynamic_shapes={"x": side}, prefer_deferred_runtime_asserts_over_guards=True
    ).module()


@needs_recent_export
@pytest.mark.parametrize(
    ("oblivious", "smallest", "sizes"),
    [
        # From 225 pixels on, the last stage has two windows a side: PyTorch takes lengths of 1 for constants.
        (False, 225, [(225, 225), (480, 333), (640, 1000)]),
        (True, 33, [(33, 33), (40, 200), (480, 333)]),  # two tokens a side
    ],
)
def test_export_keeps_height_and_width_free(oblivious, smallest, sizes):
    network = small_network()
    with fx_config.patch(backed_size_oblivious=oblivious):
        exported = export(network, images(512, 640), smallest)
    assert_same(exported, network, *sizes)


@needs_recent_export
@pytest.mark.parametrize("name", ["maxvit_pico", "maxvit_nano.rw_256"])
def test_export_of_other_styles(name):
    network = fill_with_noise(timm.create_model(name, num_classes=10, window_size=7)).eval()
    exported = export(network, images(256, 320), smallest=225)
    assert_same(exported, network, (225, 225), (300, 333))


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
@pytest.mark.parametrize("window_size", [7, "ratio"])
@pytest.mark.parametrize("name", ["maxvit_pico", "maxvit_nano.rw_256"])
def test_other_styles_are_scripted_traced_and_folded_at_any_size(name, window_size):
    network = fill_with_noise(timm.create_model(name, num_classes=10, window_size=window_size)).eval()
    others = torch.jit.script(network), torch.fx.symbolic_trace(network), reparameterize_model(network)
    for other in others:
        assert_same(other, network, (64, 64), (70, 50), (5, 101))
