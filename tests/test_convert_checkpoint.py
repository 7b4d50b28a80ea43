"""tools/convert_checkpoint.py through its command line: what it writes, where that loads, what it refuses."""

import importlib
import json
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from networks import fill_with_noise, relative_difference
from safetensors.torch import load_file, save_file
from test_tensorflow_weights import AVERAGE, noise, official_shapes

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense.export.sources import read_source
from maxvit_dense.export.write import identify

ROOT = Path(__file__).resolve().parent.parent
convert = importlib.import_module("tools.convert_checkpoint").main
TABLE = "stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"


def mini(**kwargs):
    return fill_with_noise(timm.create_model("maxvit_mini", **kwargs)).eval()


@pytest.fixture
def weights(tmp_path):
    """A file of plain weights with seven classes, and the network that they are of."""
    net = mini(num_classes=7)
    path = tmp_path / "weights.pth"
    torch.save(net.state_dict(), path)
    return net, path


def bilinear(table, rows, cols):
    return torch.nn.functional.interpolate(table[None], size=(rows, cols), mode="bilinear", align_corners=False)[0]


def card_of(folder):
    return json.loads((folder / "card.json").read_text())


def run_tool(source, target, *options):
    return convert([str(source), str(target), *options])


# What is written, and where it loads.


def test_plain_weights_come_out_as_they_went_in(weights, tmp_path, capsys):
    net, path = weights
    assert run_tool(path, tmp_path / "out.safetensors") == 0
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == net.state_dict().keys()
    assert all(torch.equal(written[name], value) for name, value in net.state_dict().items())
    assert "maxvit_mini, raw weights, tables 13 x 13" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["checkpoint_path", "local-dir", "file overlay"])
def test_a_written_folder_loads_in_every_way_that_timm_has(weights, tmp_path, way):
    net, path = weights
    assert run_tool(path, tmp_path / "out") == 0
    file = str(tmp_path / "out" / "model.safetensors")
    loaded = {
        "checkpoint_path": lambda: timm.create_model("maxvit_mini", num_classes=7, checkpoint_path=file),
        "local-dir": lambda: timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True),
        "file overlay": lambda: timm.create_model(
            "maxvit_mini", pretrained=True, pretrained_cfg_overlay=dict(file=file, num_classes=7)
        ),
    }[way]().eval()
    images = torch.randn(1, 3, 40, 70)
    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))


def test_a_written_folder_gives_features_and_other_classes(weights, tmp_path):
    net, path = weights
    assert run_tool(path, tmp_path / "out") == 0
    name, images = f"local-dir:{tmp_path / 'out'}", torch.randn(1, 3, 40, 70)
    features = timm.create_model(name, pretrained=True, features_only=True).eval()
    with torch.no_grad():
        wanted = net.forward_intermediates(images, intermediates_only=True)
        assert all(torch.equal(a, b) for a, b in zip(features(images), wanted, strict=True))
    assert timm.create_model(name, pretrained=True, num_classes=3).get_classifier().out_features == 3


@pytest.mark.parametrize(
    ("resize", "window", "input_size"),
    [
        ("384", (12, 12), [3, 384, 384]),
        ("400x224", (13, 7), [3, 400, 224]),
        ("window=4", (4, 4), [3, 128, 128]),
        ("window=20x28", (20, 28), [3, 640, 896]),
    ],
)
def test_resized_tables_are_fixed_in_the_file_by_the_bilinear_rule(weights, tmp_path, resize, window, input_size):
    net, path = weights
    assert run_tool(path, tmp_path / "out", "--resize", resize) == 0
    written = load_file(tmp_path / "out" / "model.safetensors")
    rows, cols = (2 * side - 1 for side in window)
    torch.testing.assert_close(written[TABLE], bilinear(net.state_dict()[TABLE], rows, cols))
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    assert loaded.window_size == window
    assert json.loads((tmp_path / "out" / "config.json").read_text())["pretrained_cfg"]["input_size"] == input_size
    assert (card_of(tmp_path / "out")["table_window"], card_of(tmp_path / "out")["resized_from"]) == (
        list(window),
        [7, 7],
    )
    net.set_input_size(window_size=window)  # resized in the forward pass instead
    images = torch.randn(1, 3, 75, 90)
    with torch.no_grad():
        assert relative_difference(loaded(images), net(images)) < 1e-5


def test_resized_weights_load_into_timms_own_network_of_that_size(tmp_path):
    theirs = fill_with_noise(timm.create_model("maxvit_tiny_tf_224"))
    save_file(theirs.state_dict(), tmp_path / "tiny.safetensors")
    assert run_tool(tmp_path / "tiny.safetensors", tmp_path / "out.safetensors", "--resize", "384") == 0
    timm.create_model("maxvit_tiny_tf_384", checkpoint_path=tmp_path / "out.safetensors")
    wanted = bilinear(theirs.state_dict()[TABLE], 23, 23)
    torch.testing.assert_close(load_file(tmp_path / "out.safetensors")[TABLE], wanted)


def test_torchvisions_weights_become_the_tag_that_has_its_network(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.maxvit_t(input_size=(224, 224)).eval()
    torch.save(theirs.state_dict(), tmp_path / "maxvit_t.pth")
    assert run_tool(tmp_path / "maxvit_t.pth", tmp_path / "out") == 0
    ours = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert relative_difference(ours(images), theirs(images)) < 1e-4
    assert card_of(tmp_path / "out")["architecture"] == "maxvit_t.tv_in1k"
    timm.create_model("maxvit_t.tv_in1k", checkpoint_path=tmp_path / "out" / "model.safetensors")


@pytest.fixture(scope="module")
def dump(tmp_path_factory):
    """Variables of an official checkpoint with averages, dumped."""
    variables = noise(official_shapes(1000))
    averages = {name + AVERAGE: value * 2 for name, value in variables.items()}
    path = tmp_path_factory.mktemp("official") / "dump.npz"
    np.savez(path, **variables, **averages)
    return path, variables


@pytest.mark.parametrize(("options", "factor", "said"), [((), 2, "averaged"), (("--raw",), 1, "raw")])
def test_an_official_checkpoint_becomes_safetensors_in_timms_layout(dump, tmp_path, options, factor, said):
    path, variables = dump
    assert run_tool(path, tmp_path / "out", *options) == 0
    kernel = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).stem.conv2.weight.detach().numpy()
    np.testing.assert_array_equal(kernel, factor * variables["maxvit/stem/conv_1/kernel"].transpose(3, 2, 0, 1))
    card = card_of(tmp_path / "out")
    assert (card["weights"], card["source"]) == (said, {"kind": "tensorflow", "name": "dump.npz"})


@pytest.mark.parametrize("variant", ["maxvit_t", "maxvit_s", "maxvit_b", "maxvit_l", "maxvit_xl", "maxvit_t.tv_in1k"])
def test_every_size_is_found_from_its_shapes(variant):
    weights = timm.create_model(variant, device="meta", num_classes=11, in_chans=4, img_size=(512, 384)).state_dict()
    network = identify(weights)
    assert ".".join(filter(None, (network.variant, network.tag))) == variant
    assert (network.num_classes, network.in_chans, network.table_window) == (11, 4, (16, 12))


def test_a_tag_states_how_images_are_prepared_and_keeps_the_table(tmp_path, capsys):
    save_file(timm.create_model("maxvit_t").state_dict(), tmp_path / "official.safetensors")
    assert run_tool(tmp_path / "official.safetensors", tmp_path / "out", "--tag", "in1k_384") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    told = config["pretrained_cfg"]
    assert (told["mean"], told["crop_mode"], told["input_size"]) == ([0.5] * 3, "squash", [3, 384, 384])
    net = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert (net.window_size, net.state_dict()[TABLE].shape) == ((12, 12), (2, 13, 13))
    assert "nothing tells" not in capsys.readouterr().err


def test_preprocessing_that_nothing_tells_is_assumed_aloud(weights, tmp_path, capsys):
    assert run_tool(weights[1], tmp_path / "out") == 0
    assert "nothing tells how images were prepared" in capsys.readouterr().err


def test_published_weights_convert_by_name(tmp_path, monkeypatch):
    net = timm.create_model("maxvit_t.in1k_384")
    monkeypatch.setattr("maxvit_dense.variants.load_state_dict_from_hf", lambda hub_id, **kw: net.state_dict())
    assert run_tool("maxvit_t.in1k_384", tmp_path / "out", "--resize", "512") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_mode"] == "squash"
    assert config["model_args"]["window_size"] == [16, 16]


# Bad input: one message, exit code 2, nothing written.


def damaged(tmp_path, change):
    weights = mini().state_dict()
    change(weights)
    path = tmp_path / "damaged.pth"
    torch.save(weights, path)
    return path


def lose_a_tensor(weights):
    del weights["stages.3.blocks.0.conv.se.fc1.weight"]


def lose_a_stage(weights):
    for name in [name for name in weights if name.startswith(("stages.3.", "head."))]:
        del weights[name]


def add_a_tensor(weights):
    weights["stages.3.extra"] = torch.zeros(1)


def change_a_table(weights):
    weights[TABLE] = torch.zeros(1, 15, 15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lose_a_tensor, "1 missing from the checkpoint (stages.3.blocks.0.conv.se.fc1.weight)"),
        (lose_a_stage, "out_indices"),
        (add_a_tensor, "1 unknown to the model (stages.3.extra)"),
        (change_a_table, "bias tables of 2 sizes"),
    ],
)
def test_incomplete_weights_are_refused(tmp_path, capsys, change, message):
    refuse(capsys, [damaged(tmp_path, change), tmp_path / "out"], message)
    assert not (tmp_path / "out").exists()


def refuse(capsys, arguments, message):
    assert convert([str(argument) for argument in arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("convert_checkpoint: ") and message in said
    assert len(said.splitlines()) == 1


def other_family(tmp_path):
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet.pth")
    return tmp_path / "resnet.pth"


def two_networks(tmp_path):
    weights = mini().state_dict()
    pair = {f"{who}.{name}": value for name, value in weights.items() for who in ("teacher", "student")}
    torch.save(pair, tmp_path / "pair.pth")
    return tmp_path / "pair.pth"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        (lambda path: path / "absent.pth", [], "There is no"),
        (lambda path: path, [], "has no last_checkpoint"),
        (other_family, [], "holds no MaxViT"),
        (two_networks, [], "holds 2 MaxViT networks"),
        (lambda path: "maxvit_t.in22k", [], "no checkpoint file"),
        (lambda path: path / "weights.pth", ["--resize", "big"], "--resize big: give an image size"),
        (lambda path: path / "weights.pth", ["--resize", "0"], "--resize 0: give an image size"),
        (lambda path: path / "weights.pth", ["--resize", "window=7x7x7"], "window=12, window=16x20"),
        (lambda path: path / "weights.pth", ["--tag", "in1k"], "maxvit_mini has untrained"),
        (lambda path: path / "weights.pth", ["--tag", "untrained"], "1000 classes; these weights have 7"),
    ],
)
def test_a_bad_source_or_option_is_refused(weights, tmp_path, capsys, source, options, message):
    refuse(capsys, [source(tmp_path), tmp_path / "out", *options], message)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["out.safetensors", "out"])
def test_what_is_there_is_replaced_only_by_force(weights, tmp_path, capsys, name):
    _, path = weights
    target = tmp_path / name
    assert run_tool(path, target) == 0
    capsys.readouterr()
    refuse(capsys, [path, target, "--resize", "384"], "--force")
    file = target if target.is_file() else target / "model.safetensors"
    assert load_file(file)[TABLE].shape[-1] == 13
    assert run_tool(path, target, "--resize", "384", "--force") == 0
    assert load_file(file)[TABLE].shape[-1] == 23


def test_a_folder_of_other_things_is_never_replaced(weights, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    refuse(capsys, [weights[1], tmp_path / "home", "--force"], "holds other things (thesis.txt)")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"


def test_impossible_targets_and_sizes_are_refused_before_the_work(weights, tmp_path, capsys):
    refuse(capsys, [weights[1], ""], "The target is empty")
    refuse(capsys, [weights[1], tmp_path / "a", "--resize", "99999999"], "more than a window of 128 tokens")
    refuse(capsys, [weights[1], tmp_path / "a", "--resize", "window=500"], "more than a window of 128 tokens")
    (tmp_path / "thesis.safetensors").write_text("years")
    refuse(capsys, [weights[1], tmp_path / "thesis.safetensors", "--force"], "is no file of weights")
    assert (tmp_path / "thesis.safetensors").read_text() == "years"


def test_a_full_disk_leaves_nothing(weights, tmp_path, capsys):
    before, limit = sorted(tmp_path.iterdir()), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))  # bytes of a file: stands for a full disk
    try:
        for name in ("out", "out.safetensors"):
            refuse(capsys, [weights[1], tmp_path / name], "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("arguments", "code", "message"), [(["--help"], 0, "np.savez("), (["a"], 2, "target")])
def test_help_and_mistakes_answer_without_torch(arguments, code, message):
    script = (
        "import runpy, sys; sys.argv = sys.argv[1:]\n"
        "try: runpy.run_path(sys.argv[0], run_name='__main__')\n"
        "finally: print('torch' in sys.modules, file=sys.stderr)"
    )
    command = [sys.executable, "-c", script, str(ROOT / "tools" / "convert_checkpoint.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.splitlines()[-1]) == (code, "False")
    assert message in done.stdout + done.stderr


def test_a_source_tells_its_kind(weights, dump):
    assert read_source(str(weights[1])).kind == "weights"
    assert read_source(str(dump[0])).kind == "tensorflow"
