"""tools/benchmark.py through its command line, at sizes that take seconds; no test looks at a time."""

import csv
import importlib
import json
import math

import pytest
import torch

from maxvit_dense.benchmark import counting, networks, plot, presets, report, session, worker
from maxvit_dense.benchmark.specs import Goal, Group, Model, Workload, parse_model
from maxvit_dense.errors import InputError

benchmark = importlib.import_module("tools.benchmark")

TINY = Workload(batch=2, size=(32, 32))


def run(out, *arguments):
    return benchmark.main(["--threads", "1", "--repetitions", "1", "--batch", "2", "--out", str(out), *arguments])


def read_rows(out):
    with open(out / "results.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A run of two models at three sizes."""
    out = tmp_path_factory.mktemp("benchmark")
    assert run(out, "--models", "maxvit_mini", "maxvit_mini:fold", "--sizes", "32", "48x40", "64") == 0
    return out


def test_a_run_writes_a_row_for_each_model_and_size_with_every_figure(measured):
    rows = read_rows(measured)
    assert [(row["model"], row["height"], row["width"]) for row in rows] == [
        (model, *size)
        for size in (("32", "32"), ("48", "40"), ("64", "64"))
        for model in ("maxvit_mini", "maxvit_mini:fold")
    ]
    for row in rows:
        assert row["problem"] == ""
        figures = ("images_per_second", "median_ms", "peak_memory_bytes", "share_of_matmul", "share_of_bandwidth")
        assert all(float(row[name]) > 0 for name in figures)


def test_json_tells_machine_command_versions_and_exponents(measured):
    content = json.loads((measured / "results.json").read_text())
    assert content["machine"]["torch"] == torch.__version__
    assert content["machine"]["threads"] == 1
    assert "--models maxvit_mini maxvit_mini:fold" in content["command"]
    assert [len(row["seconds"]) for row in content["rows"]] == [1] * 6
    assert [e["model"] for e in content["exponents"]] == ["maxvit_mini, eval", "maxvit_mini:fold, eval"]


def test_several_sizes_are_drawn(measured):
    assert (measured / "results.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_with_other_outputs_than_its_reference_has_no_speed(tmp_path, capsys):
    # The same weights in windows of another size: another function.
    arguments = ("--models", "maxvit_mini", "maxvit_mini:window=2", "--reference", "maxvit_mini", "--sizes", "96")
    assert run(tmp_path, *arguments) == 1
    right, wrong = read_rows(tmp_path)
    assert right["problem"] == "" and right["images_per_second"]
    assert wrong["problem"].startswith("outputs differ from maxvit_mini: largest error")
    assert wrong["images_per_second"] == wrong["median_ms"] == wrong["peak_memory_bytes"] == ""
    assert "outputs differ" in capsys.readouterr().out


def test_a_model_that_fails_has_a_row_that_says_why_and_others_are_measured(tmp_path):
    # One value a channel has no variance to train with.
    assert run(tmp_path, "--models", "maxvit_mini", "--sizes", "32", "--modes", "train", "--batch", "1") == 1
    (row,) = read_rows(tmp_path)
    assert row["problem"].startswith("failed: ValueError: Expected more than 1 value per channel")
    assert row["images_per_second"] == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--models", "maxvit_huge"), "there is no model 'maxvit_huge'. Known are maxvit_t"),
        (("--models", "timm:no_such_net"), "there is no model 'no_such_net'"),
        (("--models", "maxvit_mini:fast"), "there is no option 'fast'"),
        (("--models", "maxvit_mini", "--sizes", "0"), "size '0': give a positive number"),
        (("--models", "maxvit_mini", "--sizes", "32x"), "size '32x': give a positive number"),
        (("--models", "maxvit_mini:fold", "--modes", "train"), "folded for inference only"),
        (("--models", "maxvit_mini:recompute"), "recomputing is for training"),
        (("--models", "timm:maxvit_tiny_tf_224:recompute_cheap", "--modes", "train"), "option of our networks"),
        (("--models", "torchvision:maxvit_t", "--features"), "class scores only"),
        (("--models", "timm:resnet18:window=7"), "has no window"),
        (("--models", "maxvit_mini", "--random-sizes", "3"), "maxvit_mini is not compiled: give maxvit_mini:compile"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_wrong_usage_is_told_in_one_line_and_writes_nothing(tmp_path, capsys, arguments, message):
    out = tmp_path / "out"
    assert run(out, *arguments) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not out.exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what happens without a GPU")
def test_a_gpu_that_is_not_there_is_told(tmp_path, capsys):
    assert run(tmp_path / "out", "--models", "maxvit_mini", "--device", "cuda") == 2
    assert "sees no CUDA device" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [("--preset", "no_such"), ("--models", "maxvit_t", "--batch", "0"), ()])
def test_the_parser_refuses(arguments):
    with pytest.raises(SystemExit) as stopped:
        benchmark.main(list(arguments))
    assert stopped.value.code == 2


def test_presets_of_the_command_line_exist_and_name_models_that_do():
    assert set(benchmark.PRESETS) == set(presets.PRESETS)
    for name, groups in presets.PRESETS.items():
        titles = [group.title for group in groups]
        assert len(titles) == len(set(titles)), name
        for group in groups:
            for text in group.models:
                if group.workload.device == "cpu":
                    networks.check_model(parse_model(text), group.workload)
            for goal in group.goals:
                assert goal.model in group.models and goal.against in (None, *group.models)


@pytest.mark.parametrize(
    "text", ["maxvit_t", "timm:maxvit_tiny_tf_224:window=7x7,size=896x1344", "maxvit_s:fold,compile"]
)
def test_a_model_is_written_as_it_is_read(text):
    assert str(parse_model(text)) == text


def test_fitted_exponent_is_that_of_the_data():
    pixels = [32.0**2, 64.0**2, 100.0**2, 300.0**2]
    assert math.isclose(report.fitted_exponent(pixels, [3e-9 * p**1.25 for p in pixels]), 1.25, rel_tol=1e-9)


def make_row(text, seconds, memory=8, size=(224, 224)):
    model = parse_model(text)
    row = session.Row("group", text, model, Workload(batch=4, size=size), text, seconds=list(seconds))
    row.memory, row.weight_bytes, row.flops, row.flop_rate = memory, 2, 100, 200.0
    return row


def test_ratios_are_of_images_a_second_of_memory_and_of_the_peak():
    rows = [make_row("maxvit_t", [1.0, 2.0, 1.0], 8), make_row("timm:maxvit_tiny_tf_224", [3.0], 18)]
    texts = ("maxvit_t", "timm:maxvit_tiny_tf_224")
    goals = (Goal(*texts, 2.9), Goal(*texts, 0.4, "memory"), Goal("maxvit_t", None, 0.72, "peak share"))
    found = report.ratios([Group("group", texts, goals=goals)], rows)
    assert [ratio.value for ratio in found] == [3.0, 0.5, 0.5]
    assert [ratio.reached for ratio in found] == [True, False, False]


def test_a_goal_without_a_speed_is_not_reached():
    rows = [make_row("maxvit_t", [1.0]), make_row("timm:maxvit_tiny_tf_224", [])]
    goals = (Goal("maxvit_t", "timm:maxvit_tiny_tf_224", 0.0),)
    (ratio,) = report.ratios([Group("group", ("maxvit_t", "timm:maxvit_tiny_tf_224"), goals=goals)], rows)
    assert ratio.value is None and not ratio.reached


@pytest.mark.parametrize(
    ("found", "error"),
    [([[1.0, 4.0]], 0.0), ([[1.0, 3.0]], 0.25), ([[math.nan, 4.0]], math.inf), ([[1.0]], math.inf), ([], math.inf)],
)
def test_error_is_relative_to_the_largest_value_and_infinite_where_nothing_compares(found, error):
    tensors = [torch.tensor(values) for values in found]
    assert worker.largest_error(tensors, [torch.tensor([1.0, 4.0])]) == error


@pytest.mark.parametrize(
    ("text", "size", "reference"),
    [
        ("maxvit_t:fold", (224, 224), "timm:maxvit_tiny_tf_224:window=7x7"),
        ("maxvit_t", (896, 1344), "timm:maxvit_tiny_tf_224:window=7x7"),
        ("maxvit_t:img_size=832x1344", (832, 1344), "timm:maxvit_tiny_tf_224:window=26x42"),
        ("maxvit_t:compile", (800, 1333), "maxvit_t"),  # timm takes no such size
        ("maxvit_t:window=ratio", (640, 640), "maxvit_t:window=ratio"),  # timm resizes tables by another rule
        ("maxvit_t.tv_in1k:dtype=bf16", (224, 224), "torchvision:maxvit_t"),
        ("timm:maxvit_tiny_tf_224", (832, 1344), "timm:maxvit_tiny_tf_224:window=26x42"),
        ("timm:convnext_tiny:compile", (224, 224), "timm:convnext_tiny"),
    ],
)
def test_the_reference_is_another_implementation_where_one_computes_the_same(text, size, reference):
    assert str(networks.reference_of(parse_model(text), size)) == reference


@pytest.mark.parametrize("ours", ["maxvit_t", "maxvit_t.tv_in1k"])
def test_a_network_and_its_reference_have_equal_outputs(ours):
    workload = Workload(batch=1, size=(224, 224))
    model = parse_model(ours)
    pair = (model, networks.reference_of(model, workload.size))
    found, wanted = (worker.Runner(each, workload).results() for each in pair)
    error, tolerance = worker.judge(found, wanted, workload)
    assert error <= tolerance
    assert wanted[0].std() > 1e-3


def test_batch_norm_statistics_are_not_trivial():
    network = networks.build(parse_model("maxvit_mini"), TINY)
    norm = network.stages[0].blocks[0].conv.norm1
    assert norm.running_mean.std() > 0.05 and norm.running_var.std() > 0.1


def test_counted_operations_are_those_of_layer_shapes():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(4 * 16, 5))
    work = counting.count(network, Workload(batch=2, size=(4, 4)))
    assert work.flops == 2 * 2 * (16 * 4 * 3 * 9 + 4 * 16 * 5)
    assert work.outputs == 2 * (4 * 16 + 5)
    assert work.weights == 3 * 4 * 9 + 4 + 4 * 16 * 5 + 5
    assert counting.count(network, Workload("train", batch=2, size=(4, 4))).flops == 3 * work.flops


def test_compilations_over_random_sizes_are_counted(monkeypatch):
    compiles = torch.compile
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: compiles(network, dynamic=dynamic, backend="eager"))
    monkeypatch.setattr(networks, "build", lambda model, workload: torch.nn.Conv2d(3, 4, 3))
    model = Model("ours", "maxvit_mini", flags=frozenset({"compile"}))
    measuring = worker.Worker(model, Workload(batch=1, size=(64, 64)), model.plain(), None, 1)
    found = measuring.random_sizes(4)
    assert found["compilations"] == 1
    assert len(found["seconds"]) == 4
    assert found["error"] <= found["tolerance"]


def test_a_gradient_has_a_tolerance_of_its_own():
    output, gradient = torch.tensor([1.0]), torch.tensor([1.0])
    found = [output, gradient + 5e-4]
    assert worker.judge(found, [output, gradient], Workload("train"))[1] == worker.GRADIENT_TOLERANCES["fp32"]
    error, tolerance = worker.judge([output + 5e-4, gradient], [output, gradient], Workload("train"))
    assert error > tolerance == worker.TOLERANCES["fp32"]


def test_models_without_a_speed_are_left_out_of_the_picture(tmp_path):
    failed = make_row("maxvit_s", [])
    rows = [make_row("maxvit_t", [1.0]), make_row("maxvit_t", [4.0], size=(448, 448)), failed]
    plot.draw(rows, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["picture.png"]


def test_options_of_a_preset_are_told_apart_from_nonsense():
    with pytest.raises(InputError, match="has no name"):
        parse_model("timm:")
