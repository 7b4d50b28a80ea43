"""Weights of a finished run: backbone or classifier, averaged or raw, their card, and where they load."""

import json
import subprocess
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import load_file
from test_convert_checkpoint import TABLE, card_of, mini, run_tool

pytest.importorskip("mmengine")

from mmengine.config import Config  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.registry import DATASETS, METRICS, MODELS  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from torch.utils.data import Dataset  # noqa: E402

import maxvit_dense.openmmlab  # noqa: E402, F401
from maxvit_dense.openmmlab.inference.run_facts import run_facts  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent


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
        default_hooks=dict(checkpoint=dict(type="SafeCheckpointHook", interval=1)),
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
    assert run_tool(work_dir, tmp_path / "out", *options) == 0
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
    assert run_tool(work_dir, tmp_path / "out") == 0
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
    assert run_tool(work_dir / "epoch_1.pth", tmp_path / "out") == 0
    assert (card_of(tmp_path / "out")["epoch"], card_of(tmp_path / "out")["metric"]) == (1, {"bbox_mAP": 0.1})


def test_a_runs_normalisation_and_window_reach_timm(work_dir, tmp_path, capsys):
    assert run_tool(work_dir, tmp_path / "out") == 0
    net = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True)
    assert (net.pretrained_cfg["mean"], net.pretrained_cfg["std"]) == ([0.5] * 3, [0.2] * 3)
    assert (net.window_size, net.num_classes) == ("ratio", 0)
    assert "nothing tells" not in capsys.readouterr().err


def test_a_runs_backbone_loads_strictly_by_checkpoint_path_and_passes_features_on(work_dir, tmp_path):
    assert run_tool(work_dir, tmp_path / "out") == 0
    file = tmp_path / "out" / "model.safetensors"
    net = timm.create_model("maxvit_mini", num_classes=0, checkpoint_path=file).eval()
    pooled = torch.randn(2, 256, 1, 1)
    expected = torch.tanh(torch.nn.functional.layer_norm(pooled.flatten(1), (256,), eps=1e-5))
    torch.testing.assert_close(net.forward_head(pooled), expected)


def test_a_runs_backbone_starts_a_detector_by_init_cfg(work_dir, tmp_path):
    assert run_tool(work_dir, tmp_path / "out") == 0
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "out" / "model.safetensors"))
    backbone = MODELS.build(dict(type="MaxViT", arch="mini", init_cfg=init_cfg))
    backbone.init_weights()
    wanted = averaged_backbone(work_dir)
    assert all(torch.equal(value, wanted[name]) for name, value in backbone.net.state_dict().items())


FACTS = dict(
    mean=[0.1, 0.2, 0.3],
    std=[0.4, 0.5, 0.6],
    window_size=(12, 12),
    data="pets",
    classes=["ant", "bee", "cat"],
    input_size=384,
    crop_mode="squash",
    crop_pct=1.0,
    interpolation="bilinear",
    metric_step="epoch",
)


@pytest.fixture
def classifier(tmp_path):
    """A checkpoint as a Runner writes it for a classifier of three classes, and its network."""
    net = mini(num_classes=3)
    meta = dict(
        cfg="",
        epoch=4,
        iter=100,
        experiment_name="pretrain_pets_20260101_000000",
        maxvit_dense=FACTS,
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
    assert run_tool(path, tmp_path / "out") == 0
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
    assert run_tool(path, tmp_path / "out") == 0
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "out" / "model.safetensors"))
    backbone = MODELS.build(dict(type="MaxViT", arch="mini", init_cfg=init_cfg))
    backbone.init_weights()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in backbone.net.state_dict().items())


def test_weights_written_before_keep_their_description_when_resized(work_dir, tmp_path):
    assert run_tool(work_dir, tmp_path / "first") == 0
    assert run_tool(tmp_path / "first", tmp_path / "second", "--resize", "384") == 0
    net = timm.create_model(f"local-dir:{tmp_path / 'second'}", pretrained=True)
    assert (net.pretrained_cfg["std"], net.window_size) == ([0.2] * 3, "ratio")
    assert net.state_dict()[TABLE].shape == (1, 23, 23)


def test_the_config_in_a_checkpoint_is_never_run(work_dir, tmp_path):
    checkpoint = torch.load(work_dir / "epoch_2.pth", weights_only=False)
    proof = tmp_path / "proof"
    checkpoint["meta"]["cfg"] += f"\nimport pathlib\nproof = pathlib.Path({str(proof)!r}).touch()\n"
    torch.save(checkpoint, tmp_path / "epoch_2.pth")
    assert run_tool(tmp_path / "epoch_2.pth", tmp_path / "out") == 0
    assert not proof.exists()
    assert card_of(tmp_path / "out")["metric"] is None  # no logs lie beside it


def test_a_checkpoint_without_a_record_is_converted_and_what_is_assumed_said_aloud(work_dir, tmp_path, capsys):
    checkpoint = torch.load(work_dir / "epoch_2.pth", weights_only=False)
    del checkpoint["meta"]["maxvit_dense"]
    torch.save(checkpoint, tmp_path / "epoch_2.pth")
    assert run_tool(tmp_path / "epoch_2.pth", tmp_path / "out") == 0
    assert (card_of(tmp_path / "out")["data"], card_of(tmp_path / "out")["epoch"]) == (None, 2)
    said = capsys.readouterr().err
    assert "nothing tells how images were prepared" in said and "window of (7, 7)" in said


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({}, dict(data=None, mean=None, window_size=None, metric_step="epoch")),
        (
            dict(
                train_dataloader=dict(dataset=dict(type="ConcatDataset", datasets=[dict(data_root="a/voc/")])),
                data_preprocessor=dict(mean=[0.0, 0.0, 0.0], std=[255.0] * 3),
                default_hooks=dict(logger=dict(type="LoggerHook", log_metric_by_epoch=False)),
            ),
            dict(data="voc", mean=[0.0] * 3, std=[1.0] * 3, metric_step="iter"),
        ),
    ],
)
def test_facts_are_found_where_a_config_has_them_and_none_elsewhere(changes, facts):
    found = run_facts(Config(changes), torch.nn.Linear(1, 1), dict(dataset_meta=None))
    assert found | facts == found
