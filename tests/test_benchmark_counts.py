"""What benchmark --count counts, against networks counted by hand."""

import json

import pytest
import torch
from torch import nn

from maxvit_dense.benchmark import chips, count, fake, rows
from maxvit_dense.benchmark.counting import Counter, Counts, Operator
from maxvit_dense.benchmark.fake import nodes_last, run_backward
from tests.networks import small_network
from tools import benchmark

trains_on_no_gpu = pytest.mark.skipif(not nodes_last(), reason="needs a PyTorch whose nodes last, 2.14 for one")


def names(counts):
    return [operator.name for operator in counts.launches]


def test_a_linear_layer_is_one_launch_of_known_bytes_and_operations():
    layer, x = nn.Linear(8, 16), torch.randn(4, 8)
    with torch.no_grad(), Counter() as counter:
        layer(x)
    (launch,) = counter.counts.launches
    assert (launch.name, launch.read, launch.written) == ("addmm", 4 * (16 + 4 * 8 + 8 * 16), 4 * 4 * 16)
    assert launch.operations == counter.counts.operations == 2 * 4 * 8 * 16


@pytest.mark.parametrize("groups", [1, 8], ids=["full", "depthwise"])
def test_each_gradient_of_a_convolution_has_the_operations_of_the_convolution(groups):
    layer, x = nn.Conv2d(8, 8, 3, padding=1, groups=groups), torch.randn(2, 8, 5, 6, requires_grad=True)
    with Counter() as counter:
        layer(x).sum().backward()
    products = 2 * (2 * 8 * 5 * 6) * (8 // groups * 9)
    assert counter.counts.operations == 3 * products
    x.requires_grad_(False)
    with Counter() as counter:
        layer(x).sum().backward()
    assert counter.counts.operations == 2 * products


def test_views_and_room_are_no_launches_and_what_is_expanded_counts_once():
    x = torch.randn(2, 3)
    with Counter() as counter:
        torch.empty(5)
        y = x.t().unsqueeze(0).expand(7, 3, 2)
        y + 1
    (launch,) = counter.counts.launches
    assert (launch.name, launch.read, launch.written) == ("add", 4 * 6, 4 * 42)


def test_operators_in_place_and_gathers_count_what_they_touch():
    table, index, target = torch.randn(1000, 4), torch.tensor([3, 5]), torch.empty(2, 4)
    with Counter() as counter:
        rows_of_it = table.index_select(0, index)
        target.copy_(rows_of_it)
        target.add_(1.0)
    found = [(launch.name, launch.read, launch.written) for launch in counter.counts.launches]
    assert found == [("index_select", 2 * 8 + 32, 32), ("copy_", 32, 32), ("add_", 32, 32)]


def test_the_peak_is_of_what_lives_at_one_time():
    x = torch.randn(1000)
    with Counter() as counter:
        y = x + 1
        y = y + 1
        del y
        x.view(10, 100) * 2
    assert counter.counts.peak == 2 * 4000


def test_a_value_that_the_host_reads_is_a_wait():
    x = torch.randn(3)
    with Counter() as counter:
        x.sum().item()
        x.nonzero()
    assert counter.counts.waits == {"_local_scalar_dense": 1, "nonzero": 1}


@trains_on_no_gpu
@pytest.mark.parametrize("mode", [False, True, "cheap"])
def test_the_backward_pass_without_an_engine_is_that_of_the_engine(mode):
    network = small_network().train()
    network.set_grad_checkpointing(mode)
    x = torch.randn(2, 3, 70, 90)
    gradients, counts = [], []
    for backward in (torch.Tensor.backward, run_backward):
        network.zero_grad(set_to_none=True)
        with Counter() as counter:
            backward(network(x).square().sum())
        gradients.append([p.grad for p in network.parameters()])
        counts.append(counter.counts)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)
    engine, ours = counts
    assert len(ours.launches) == pytest.approx(len(engine.launches), rel=0.01)  # it copies gradients not dense
    assert ours.moved == pytest.approx(engine.moved, rel=0.01) and ours.peak == pytest.approx(engine.peak, rel=0.05)


@trains_on_no_gpu
def test_a_gpu_that_is_not_there_runs_fused_attention_and_half_precision():
    counts = count.count(rows.parse_row("maxvit_mini cuda train bf16 batch=2 size=64"))
    found = names(counts)
    assert found.count("_scaled_dot_product_efficient_attention_backward") > 0
    assert sum(name.endswith("batch_norm") for name in found) == 16
    assert {launch.dtype for launch in counts.launches if launch.name == "mm"} == {torch.bfloat16}


def test_operations_of_the_cpu_path_are_those_of_pytorchs_counter_and_training_has_three_times_as_many():
    from torch.utils.flop_counter import FlopCounterMode

    row = rows.parse_row("maxvit_mini batch=2 size=48")
    network = count.worker.build(row)
    with FlopCounterMode(display=False) as theirs:
        count.worker.run_network(network, torch.randn(2, 3, 48, 48), False)
    once = theirs.get_total_flops()
    assert count.count(row).operations == once
    trained = count.count(rows.parse_row("maxvit_mini train batch=2 size=48")).operations
    assert 2.95 < trained / once < 3  # the images themselves need no gradient


@trains_on_no_gpu
def test_recomputation_keeps_less_and_launches_more():
    work = "maxvit_mini cuda train batch=2 size=224 bf16"  # at 64, the weights' gradients are the peak
    kept, cheap = (count.count(rows.parse_row(f"{work} {word}")) for word in ("", "cheap"))
    assert cheap.peak < 0.8 * kept.peak and len(cheap.launches) > len(kept.launches)
    products = {launch.dtype for launch in cheap.launches if launch.name in ("mm", "addmm", "convolution")}
    assert products == {torch.bfloat16}  # in what is computed again too


def test_the_least_time_of_each_launch_is_bound_by_memory_or_by_products():
    chip = chips.Chip("chip", 1e9, {torch.float32: 1e12, torch.bfloat16: 4e12})
    launches = [
        Operator("add", 10**9, 10**9, 0, torch.float32),
        Operator("mm", 10**6, 10**6, 8 * 10**12, torch.float32),
        Operator("mm", 10**6, 10**6, 8 * 10**12, torch.bfloat16),
    ]
    assert chip.least_seconds(Counts(launches)) == pytest.approx(2 + 8 + 2)


@trains_on_no_gpu
def test_the_tool_writes_counts_and_says_which_rows_fail(tmp_path, capsys):
    out = tmp_path / "counts.json"
    networks = ["maxvit_mini", "timm:resnet18", "maxvit_mini batch=1 size=32"]
    words = ["--work", "batch=2 size=48 train cuda", "--chips", "H100", "--out", str(out)]
    assert benchmark.main(["--count", "--rows", *networks, *words]) == 1
    assert capsys.readouterr().out.count("| maxvit_mini ") == 2
    ours, theirs, failed = json.loads(out.read_text())["rows"]
    assert ours["launches"] > theirs["launches"] > 0 and ours["least_seconds"]["H100"] > 0
    assert failed["problem"].startswith("ValueError: Expected more than 1 value per channel")


def test_counting_compiled_programs_is_refused(capsys):
    assert benchmark.main(["--count", "--rows", "maxvit_mini compile"]) == 2
    assert "leave out compile" in capsys.readouterr().err


def test_an_older_pytorch_is_told_what_it_cannot_count(monkeypatch):
    monkeypatch.setattr(fake, "nodes_last", lambda: False)
    row = rows.parse_row("maxvit_mini cuda train bf16 batch=2 size=64")
    with pytest.raises(RuntimeError, match=r"counted with PyTorch 2.14, not 2\."):
        count.count(row)
