"""tools/convert_checkpoint.py through its command line: what it writes, where that loads, what it refuses."""

import importlib
import json
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
from maxvit_dense.weight_export import identify
from maxvit_dense.weight_sources import read_source

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


def run(source, target, *options):
    return convert([str(source), str(target), *options])


# What is written, and where it loads.


def test_plain_weights_come_out_as_they_went_in(weights, tmp_path, capsys):
    net, path = weights
    assert run(path, tmp_path / "out.safetensors") == 0
    written = load_file(tmp_path / "out.safetensors")
    assert written.keys() == net.state_dict().keys()
    assert all(torch.equal(written[name], value) for name, value in net.state_dict().items())
    assert "maxvit_mini, raw weights, tables 13 x 13" in capsys.readouterr().out


@pytest.mark.parametrize("way", ["checkpoint_path", "local-dir", "file overlay"])
def test_a_written_folder_loads_in_every_way_that_timm_has(weights, tmp_path, way):
    net, path = weights
    assert run(path, tmp_path / "out") == 0
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
    assert run(path, tmp_path / "out") == 0
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
    assert run(path, tmp_path / "out", "--resize", resize) == 0
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
    assert run(tmp_path / "tiny.safetensors", tmp_path / "out.safetensors", "--resize", "384") == 0
    timm.create_model("maxvit_tiny_tf_384", checkpoint_path=tmp_path / "out.safetensors")
    wanted = bilinear(theirs.state_dict()[TABLE], 23, 23)
    torch.testing.assert_close(load_file(tmp_path / "out.safetensors")[TABLE], wanted)


def test_torchvisions_weights_become_the_tag_that_has_its_network(tmp_path):
    torch.manual_seed(0)
    theirs = torchvision.models.maxvit_t(input_size=(224, 224)).eval()
    torch.save(theirs.state_dict(), tmp_path / "maxvit_t.pth")
    assert run(tmp_path / "maxvit_t.pth", tmp_path / "out") == 0
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
    assert run(path, tmp_path / "out", *options) == 0
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
    assert run(tmp_path / "official.safetensors", tmp_path / "out", "--tag", "in1k_384") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    told = config["pretrained_cfg"]
    assert (told["mean"], told["crop_mode"], told["input_size"]) == ([0.5] * 3, "squash", [3, 384, 384])
    net = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert (net.window_size, net.state_dict()[TABLE].shape) == ((12, 12), (2, 13, 13))
    assert "nothing tells" not in capsys.readouterr().err


def test_preprocessing_that_nothing_tells_is_assumed_aloud(weights, tmp_path, capsys):
    assert run(weights[1], tmp_path / "out") == 0
    assert "nothing tells how images were prepared" in capsys.readouterr().err


def test_published_weights_convert_by_name(tmp_path, monkeypatch):
    net = timm.create_model("maxvit_t.in1k_384")
    monkeypatch.setattr("maxvit_dense.variants.load_state_dict_from_hf", lambda hub_id, **kw: net.state_dict())
    assert run("maxvit_t.in1k_384", tmp_path / "out", "--resize", "512") == 0
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["pretrained_cfg"]["crop_mode"] == "squash"
    assert config["model_args"]["window_size"] == [16, 16]


# A finished run.

pytest.importorskip("mmengine")

from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, METRICS, MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

import maxvit_dense.openmmlab  # noqa: E402, F401


@MODELS.register_module()
class ConvertedDetector(BaseModel):
    def __init__(self, backbone, data_preprocessor):
        super().__init__(data_preprocessor)
        self.backbone = MODELS.build(backbone)
        self.neck = torch.nn.Conv2d(256, 4, 1)

    def forward(self, inputs, data_samples=None, mode="tensor"):
        outputs = self.neck(self.backbone(inputs)[-1])
        return dict(loss=outputs.square().mean()) if mode == "loss" else [{}]


@DATASETS.register_module()
class ConvertedImages(Dataset):
    metainfo = dict(classes=("cat", "dog"))

    def __init__(self, data_root):
        self.data_root = data_root

    def __len__(self):
        return 2

    def __getitem__(self, index):
        return dict(inputs=torch.rand(3, 32, 32) * 255)


@METRICS.register_module()
class ConvertedMetric(BaseMetric):
    """The number of evaluations so far, in tenths."""

    evaluations = 0

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        ConvertedMetric.evaluations += 1
        return dict(bbox_mAP=ConvertedMetric.evaluations / 10)


@pytest.fixture(scope="module")
def work_dir(tmp_path_factory):
    """Work dir of a detector with EMA, two epochs, evaluated after each."""
    folder = tmp_path_factory.mktemp("runs") / "my_run"
    data = dict(
        dataset=dict(type="ConvertedImages", data_root="data/my_coco/"),
        batch_size=2,
        sampler=dict(type="DefaultSampler", shuffle=False),
    )
    preprocessor = dict(type="ImgDataPreprocessor", mean=[127.5] * 3, std=[51.0] * 3, bgr_to_rgb=True)
    cfg = dict(
        model=dict(
            type="ConvertedDetector",
            backbone=dict(type="MaxViT", arch="mini", window_size="ratio"),
            data_preprocessor=preprocessor,
        ),
        work_dir=str(folder),
        train_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=[dict(type="ConvertedMetric")],
        custom_hooks=[dict(type="EMAHook")],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
        experiment_name="my_config",
    )
    Runner.from_cfg(Config(cfg)).train()
    return folder


def raw_backbone(work_dir, epoch=2):
    checkpoint = torch.load(work_dir / f"epoch_{epoch}.pth", weights_only=False)
    prefix = "module.backbone.net."
    return {k.removeprefix(prefix): v for k, v in checkpoint["ema_state_dict"].items() if k.startswith(prefix)}


def averaged_backbone(work_dir, epoch=2):
    weights = torch.load(work_dir / f"epoch_{epoch}.pth", weights_only=False)["state_dict"]
    return {k.removeprefix("backbone.net."): v for k, v in weights.items() if k.startswith("backbone.net.")}


@pytest.mark.parametrize(
    ("options", "backbone", "metric"),
    [((), averaged_backbone, {"bbox_mAP": 0.2}), (("--raw",), raw_backbone, None)],
)
def test_a_run_leaves_its_backbone_averaged_or_raw(work_dir, tmp_path, options, backbone, metric):
    assert run(work_dir, tmp_path / "out", *options) == 0
    written, wanted = load_file(tmp_path / "out" / "model.safetensors"), backbone(work_dir)
    assert wanted and all(torch.equal(written[name], value) for name, value in wanted.items())
    assert sorted(written.keys() - wanted.keys()) == [
        "head.norm.bias",
        "head.norm.weight",
        "head.pre_logits.fc.bias",
        "head.pre_logits.fc.weight",
    ]
    assert card_of(tmp_path / "out")["metric"] == metric


def test_averaged_and_raw_weights_of_that_run_differ(work_dir):
    averaged, raw = averaged_backbone(work_dir), raw_backbone(work_dir)
    assert not torch.equal(averaged["stem.conv1.weight"], raw["stem.conv1.weight"])


def test_the_card_of_a_run_says_what_it_was(work_dir, tmp_path):
    assert run(work_dir, tmp_path / "out") == 0
    card = card_of(tmp_path / "out")
    assert card["recipe"]["config"] == "my_config" and len(card["recipe"]["sha256"]) == 64
    assert (card["data"], card["epoch"], card["iter"], card["classes"]) == ("my_coco", 2, 2, ["cat", "dog"])
    assert (card["architecture"], card["weights"], card["head"]) == ("maxvit_mini", "averaged", "neutral")
    assert card["source"] == {"kind": "run", "name": "epoch_2.pth"}
    assert card["versions"]["torch"] == torch.__version__.partition("+")[0]
    if (ROOT / ".git").exists():
        head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
        assert card["commit"].removesuffix("-dirty") == head.stdout.strip()
    assert str(tmp_path) not in json.dumps(card) and str(work_dir.parent) not in json.dumps(card)


def test_the_metric_is_that_of_the_checkpoints_own_epoch(work_dir, tmp_path):
    assert run(work_dir / "epoch_1.pth", tmp_path / "out") == 0
    assert (card_of(tmp_path / "out")["epoch"], card_of(tmp_path / "out")["metric"]) == (1, {"bbox_mAP": 0.1})


def test_a_runs_normalisation_and_window_reach_timm(work_dir, tmp_path, capsys):
    assert run(work_dir, tmp_path / "out") == 0
    net = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert (net.pretrained_cfg["mean"], net.pretrained_cfg["std"]) == ([0.5] * 3, [0.2] * 3)
    assert (net.window_size, net.num_classes) == ("ratio", 0)
    assert "nothing tells" not in capsys.readouterr().err


def test_a_runs_backbone_loads_strictly_by_checkpoint_path_and_passes_features_on(work_dir, tmp_path):
    assert run(work_dir, tmp_path / "out") == 0
    file = tmp_path / "out" / "model.safetensors"
    net = timm.create_model("maxvit_mini", num_classes=0, checkpoint_path=file).eval()
    pooled = torch.randn(2, 256, 1, 1)
    expected = torch.tanh(torch.nn.functional.layer_norm(pooled.flatten(1), (256,), eps=1e-5))
    torch.testing.assert_close(net.forward_head(pooled), expected)


def test_a_runs_backbone_starts_a_detector_by_init_cfg(work_dir, tmp_path):
    assert run(work_dir, tmp_path / "out") == 0
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "out" / "model.safetensors"))
    backbone = MODELS.build(dict(type="MaxViT", arch="mini", init_cfg=init_cfg))
    backbone.init_weights()
    wanted = averaged_backbone(work_dir)
    assert all(torch.equal(value, wanted[name]) for name, value in backbone.net.state_dict().items())


CLASSIFIER = """
model = dict(
    data_preprocessor=dict(mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6), type='ImageBatch'),
    network=dict(model_name='maxvit_mini', window_size=12),
    type='ImageClassifier')
train_dataloader = dict(
    dataset=dict(data_root='data/pets/', transform=dict(input_size=320)), num_workers=compute())
val_dataloader = dict(
    dataset=dict(transform=dict(crop_mode='squash', crop_pct=1.0, input_size=384, interpolation='bilinear')))
"""


@pytest.fixture
def classifier(tmp_path):
    """A checkpoint as a Runner writes it for a classifier of three classes, and its network."""
    net = mini(num_classes=3)
    meta = dict(
        cfg=CLASSIFIER,
        epoch=4,
        iter=100,
        experiment_name="pretrain_pets_20260101_000000",
        dataset_meta=dict(classes=("ant", "bee", "cat")),
    )
    weights = {f"backbone.net.{name}": value for name, value in net.state_dict().items()}
    torch.save(dict(meta=meta, state_dict=weights), tmp_path / "epoch_4.pth")
    logs = tmp_path / "20260101_000000" / "vis_data"
    logs.mkdir(parents=True)
    lines = [
        dict(loss=1.0, iter=4, step=4),
        {"top1": 50.0, "time": 1.0, "step": 3},
        {"top1": 62.5, "top5": 90.0, "data_time": 0.1, "step": 4},
    ]
    (logs / "scalars.json").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"top1": 1')
    return net, tmp_path / "epoch_4.pth"


def test_a_classifiers_run_keeps_its_head_and_how_it_evaluates(classifier, tmp_path):
    net, path = classifier
    assert run(path, tmp_path / "out") == 0
    loaded = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    net.set_input_size(window_size=12)
    images = torch.randn(1, 3, 70, 90)
    with torch.no_grad():
        assert torch.equal(loaded(images), net(images))
    told = loaded.pretrained_cfg
    assert (told["mean"], told["std"]) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (told["input_size"], told["crop_pct"], told["crop_mode"]) == ((3, 384, 384), 1.0, "squash")
    assert (told["interpolation"], told["label_names"]) == ("bilinear", ["ant", "bee", "cat"])
    card = card_of(tmp_path / "out")
    assert (card["recipe"]["config"], card["data"], card["head"]) == ("pretrain_pets", "pets", "trained")
    assert card["metric"] == {"top1": 62.5, "top5": 90.0}


def test_a_detector_may_start_from_a_classifiers_run(classifier, tmp_path):
    net, path = classifier
    assert run(path, tmp_path / "out") == 0
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "out" / "model.safetensors"))
    backbone = MODELS.build(dict(type="MaxViT", arch="mini", init_cfg=init_cfg))
    backbone.init_weights()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in backbone.net.state_dict().items())


def test_weights_written_before_keep_their_description_when_resized(work_dir, tmp_path):
    assert run(work_dir, tmp_path / "first") == 0
    assert run(tmp_path / "first", tmp_path / "second", "--resize", "384") == 0
    net = timm.create_model(f"local-dir:{tmp_path / 'second'}", pretrained=True)
    assert (net.pretrained_cfg["std"], net.window_size) == ([0.2] * 3, "ratio")
    assert net.state_dict()[TABLE].shape == (1, 23, 23)


def test_the_config_in_a_checkpoint_is_read_and_never_run(work_dir, tmp_path):
    checkpoint = torch.load(work_dir / "epoch_2.pth", weights_only=False)
    proof = tmp_path / "proof"
    checkpoint["meta"]["cfg"] += f"\nimport pathlib\nproof = pathlib.Path({str(proof)!r}).touch()\n"
    torch.save(checkpoint, tmp_path / "epoch_2.pth")
    assert run(tmp_path / "epoch_2.pth", tmp_path / "out") == 0
    assert not proof.exists()
    assert card_of(tmp_path / "out")["data"] == "my_coco"
    assert card_of(tmp_path / "out")["metric"] is None  # no logs lie beside it


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
        (lose_a_tensor, "stages.3.blocks.0.conv.se.fc1.weight is missing"),
        (lose_a_stage, "out_indices"),
        (add_a_tensor, "stages.3.extra is unknown"),
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
    assert run(path, target) == 0
    capsys.readouterr()
    refuse(capsys, [path, target, "--resize", "384"], "--force")
    file = target if target.is_file() else target / "model.safetensors"
    assert load_file(file)[TABLE].shape[-1] == 13
    assert run(path, target, "--resize", "384", "--force") == 0
    assert load_file(file)[TABLE].shape[-1] == 23


def test_a_folder_of_other_things_is_never_replaced(weights, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years")
    refuse(capsys, [weights[1], tmp_path / "home", "--force"], "holds other things (thesis.txt)")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years"


def test_a_failure_while_writing_leaves_nothing(weights, tmp_path, monkeypatch, capsys):
    def full(*args, **kwargs):
        raise OSError("No space left on device")

    monkeypatch.setattr("maxvit_dense.weight_export.save_for_hf", full)
    monkeypatch.setattr("maxvit_dense.weight_export.save_file", full)
    before = sorted(tmp_path.iterdir())
    for name in ("out", "out.safetensors"):
        refuse(capsys, [weights[1], tmp_path / name], "No space left on device")
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
