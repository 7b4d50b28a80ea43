"""tools/benchmark.py through its command line, at sizes that take seconds; no test looks at a time."""

import json
from pathlib import Path

import pytest
import torch

from maxvit_dense.benchmark import rows, session, worker
from maxvit_dense.errors import InputError
from tools import benchmark


def run(*arguments):
    return benchmark.main(["--threads", "1", "--repetitions", "2", *map(str, arguments)])


def test_a_run_gives_every_row_its_figures_and_a_failure_its_reason(tmp_path, capsys):
    # One value a channel has no variance to train with.
    out = tmp_path / "results.json"
    networks = ["maxvit_mini", "maxvit_mini images=40x48,33x20", "maxvit_mini batch=1 size=32"]
    assert run("--rows", *networks, "--work", "batch=2 size=48 train", "--out", out) == 1
    assert capsys.readouterr().out.count("| maxvit_mini ") == 3
    content = json.loads(out.read_text())
    assert content["machine"]["torch"] == torch.__version__ and content["machine"]["threads"] == 1
    found = content["rows"]
    assert [row["network"] for row in found] == networks
    for row in found[:2]:
        assert row["problem"] == "" and len(row["seconds"]) == 2 and min(row["seconds"]) > 0
        weights = sum(p.nbytes for p in worker.build(rows.parse_row("maxvit_mini")).parameters())
        assert weights < row["peak"] < 2**31
    assert found[2]["problem"].startswith("ValueError: Expected more than 1 value per channel")


def test_a_table_holds_median_spread_and_memory(tmp_path):
    row = rows.parse_row("maxvit_t batch=4")
    group = rows.Group("batch=4", ("maxvit_t", "timm:convnext_tiny"))
    results = [session.Result("maxvit_t", row, [1.0, 4.0, 2.0], 2**29), session.Result("other", row, problem="killed")]
    assert session.table(group, results).splitlines() == [
        "batch=4:",
        "",
        "| network | images/s | ms | spread | peak GiB |",
        "| --- | --- | --- | --- | --- |",
        "| maxvit_t | 2 | 2000.0 | 1000.0-4000.0 | 0.50 |",
        "| other | failed: killed |  |  |  |",
    ]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("maxvit_huge", "there is no network 'maxvit_huge'"),
        ("timm:no_such_net", "there is no network 'no_such_net'"),
        ("maxvit_mini fast", "'fast' means nothing here"),
        ("maxvit_mini size=0", "'size=0' means nothing here"),
        ("maxvit_mini batch=-1", "'batch=-1' means nothing here"),
        ("mine:maxvit_mini", "networks are NAME (ours)"),
        ("timm:", "a row begins with a network"),
        ("maxvit_mini fold train", "folded for inference"),
        ("maxvit_mini recompute", "recomputing is for training"),
        ("timm:maxvit_tiny_tf_224 cheap train", "option of our networks"),
        ("torchvision:maxvit_t features", "class scores only"),
        ("timm:resnet18 batch=2 images=90x80,80x90", "only our networks"),
        ("maxvit_mini batch=3 images=90x80,80x90", "2 images for a batch of 3"),
        ("maxvit_mini batch=1 size=96 images=90x100", "larger than the canvas"),
        pytest.param(
            "maxvit_mini cuda",
            "sees no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU"),
        ),
    ],
)
def test_wrong_usage_is_told_in_one_line_and_writes_nothing(tmp_path, capsys, row, message):
    assert run("--rows", row, "--out", tmp_path / "results.md") == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["--preset", "no"],
        ["--rows", "maxvit_t", "--threads", "0"],
        ["--rows", "maxvit_t", "--threads", "100000"],
        ["--rows", "net", "--out=x.csv"],
        ["--rows", "maxvit_t", f"--out={__file__}/x.md"],
        ["--rows", "maxvit_t", f"--out={Path(__file__).parent}"],
        [],
    ],
)
def test_the_parser_refuses(arguments):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(arguments)
    assert stopped.value.code == 2


@pytest.mark.parametrize("preset", rows.PRESETS)
def test_presets_name_networks_that_exist_and_can_do_their_work(preset, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    session.check(rows.PRESETS[preset])


def test_a_row_is_built_as_its_words_say():
    row = rows.parse_row("maxvit_mini fold features window=ratio batch=2 size=70x90")
    assert (row.batch, row.size, row.window, row.source) == (2, (70, 90), "ratio", "ours")
    network = worker.build(row)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert network.network.window_size == "ratio"
    assert [m.shape[-2:] for m in network(torch.zeros(2, 3, 70, 90))] == [(18, 23), (9, 12), (5, 6), (3, 3)]
    assert worker.build(rows.parse_row("maxvit_mini train")).training


@pytest.mark.parametrize(("window", "tokens"), [("", 3 * 5), (" window=4", 4 * 4)])
def test_timm_networks_take_the_size_and_window_of_the_row(window, tokens):
    size = "96x160" if not window else "128x128"
    network = worker.build(rows.parse_row(f"timm:maxvit_tiny_tf_224 size={size}{window}")).network
    assert network.stages[0].blocks[0].attn_block.attn.rel_pos.window_area == tokens


def test_a_training_call_runs_forward_and_backward_in_its_number_format_and_layout():
    step = worker.Step(rows.parse_row("maxvit_mini train bf16 channels_last recompute batch=2 size=48"))
    network, calls, blocks = step.network.network, [], []
    network.stages[0].blocks[0].conv.register_forward_hook(lambda *_: blocks.append(None))
    network.register_forward_hook(lambda module, inputs, scores: calls.append((*inputs, scores)))
    network.head.fc.weight.register_hook(lambda gradient: calls.append(gradient.abs().max() > 0))
    step()
    (images, scores), has_gradient = calls
    assert images.is_contiguous(memory_format=torch.channels_last) and scores.dtype == torch.bfloat16 and has_gradient
    assert all(p.grad is None for p in network.parameters())
    assert blocks == 2 * [None]  # again in the backward pass


def test_an_inference_call_keeps_no_graph():
    step, calls = worker.Step(rows.parse_row("maxvit_mini fold size=48")), []
    step.network.network.register_forward_hook(lambda module, inputs, scores: calls.append(scores))
    step()
    assert calls[0].grad_fn is None and calls[0].dtype == torch.float32


def test_images_of_different_sizes_are_told_to_the_network():
    with_sizes = worker.build(rows.parse_row("maxvit_mini batch=2 size=64 images=64x40,33x64"))
    with torch.no_grad():
        images = torch.randn(2, 3, 64, 64)
        (scores,) = with_sizes(images)
        assert torch.allclose(scores[0], with_sizes.network(images[:1, :, :64, :40])[0], atol=1e-5)


def test_a_row_without_a_network_is_no_row():
    with pytest.raises(InputError, match="begins with a network"):
        rows.parse_row("")
