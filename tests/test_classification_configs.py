"""Every config of ImageNet training builds, takes a step and evaluates at a small size, and follows its recipe."""

import importlib
import re
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

import timm  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from timm.data import create_transform  # noqa: E402
from timm.data.auto_augment import RandAugment  # noqa: E402

from maxvit_dense.export.sources import read_source  # noqa: E402
from maxvit_dense.export.write import identify  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402
from tests.class_folders import write_folders  # noqa: E402
from tests.config_files import CONFIGS, FOLDER, find, load  # noqa: E402
from tests.processes import run_processes  # noqa: E402

CLASSIFIERS = [path for path in CONFIGS if "pretrain_" in path.stem or "finetune_" in path.stem]
FSDP = find("pretrain_maxvit_l_fsdp_imagenet")
# Paper, table 12: stochastic depth by size.
DROP_PATH = dict(t=0.2, s=0.3, b=0.4, l=0.6)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "images", per_class=4)


def small(path, data, work_dir, launcher="none", resume=None, **changes):
    """The same config with the smallest network on small images, prepared for a Runner."""
    loaders = {
        f"{phase}_dataloader.{key}": value
        for phase in ("train", "val", "test")
        for key, value in {
            "batch_size": 4, "num_workers": 0, "persistent_workers": False, "pin_memory": False,
            "dataset.transform.input_size": 32,
        }.items()
    }  # fmt: skip
    overrides = {
        **loaders,
        "model.network.model_name": "maxvit_mini",
        "model.network.window_size": 4,  # quick: larger windows would be empty but for few places
        "model.init_cfg": None,
        "total_batch_size": 12,
        "train_cfg.max_epochs": 1,
        "param_scheduler": [],
        **changes,
    }
    return prepare.prepare_training(
        str(path),
        data_root=str(data),
        work_dir=str(work_dir),
        overrides=overrides,
        launcher=launcher,
        resume=resume,
    )


# The other sizes differ in the network alone, which is replaced here; FSDP has a test of its own.
@pytest.mark.parametrize(
    "name",
    [
        "pretrain_maxvit_t_imagenet",
        "pretrain_maxvit_t_cutmix_imagenet",
        "finetune_maxvit_t_384_imagenet",
        "finetune_maxvit_t_512_imagenet",
        "pretrain_maxvit_mini_cifar10",
        "demo_pretrain_maxvit_mini_sample",
    ],
)
def test_config_trains_a_step_and_evaluates(name, data, tmp_path):
    runner = prepare.build_runner(small(find(name), data, tmp_path))
    before = runner.model.backbone.net.stem.conv1.weight.detach().clone()
    runner.train()
    assert runner.iter == 3  # one step of three batches
    assert not torch.equal(runner.model.backbone.net.stem.conv1.weight, before)
    assert "val/accuracy/top1" in runner.message_hub.log_scalars


@pytest.mark.parametrize("path", [p for p in CLASSIFIERS if "_maxvit_" in p.stem], ids=lambda path: path.stem)
def test_config_builds_its_own_network_with_the_papers_depth(path):
    network = load(path).model.network
    with torch.device("meta"):
        net = timm.create_model(**{**network, "num_classes": 1000})
    size = path.stem.split("_maxvit_")[1].split("_")[0]
    assert network.model_name == f"maxvit_{size}"
    assert network.drop_path_rate == DROP_PATH.get(size, 0.0)
    assert net.num_classes == 1000


@pytest.mark.parametrize("path", [p for p in CLASSIFIERS if "_maxvit_" not in p.stem], ids=lambda path: path.stem)
def test_peer_differs_from_maxvit_mini_in_the_network_alone(path):
    peer, ours = load(path), load(find("pretrain_maxvit_mini_cifar10"))
    assert path.stem == f"pretrain_{peer.model.network.model_name.removesuffix('_rw')}_cifar10"
    for config in (peer, ours):
        config.model.pop("network")
    assert peer.to_dict() == ours.to_dict()


@pytest.mark.parametrize("document", ["README.md", "docs/pretraining.md"])
def test_pretraining_fine_tuning_and_detection_are_three_commands_that_fit_the_configs(document, tmp_path, monkeypatch):
    text = (FOLDER.parent / document).read_text().replace("\\\n", " ")
    commands = re.findall(r"(?:-dense |_tools\.)train ((?:pretrain|finetune|maskrcnn)_\S+.*)", text)
    given = []
    monkeypatch.setattr(prepare, "prepare_training", lambda config, **options: given.append((config, options)))
    monkeypatch.setattr(prepare, "build_runner", lambda cfg: SimpleNamespace(train=lambda: None))
    monkeypatch.chdir(tmp_path)
    for folder in ("imagenet", "coco"):
        Path(folder).mkdir()
    for command in commands:
        importlib.import_module("tools.train").main(shlex.split(command))
    pretrain, finetune, detect = (one for one in given if one[1]["data_root"] in ("imagenet/", "coco/"))
    configs = [Config.fromfile(config) for config, _ in (pretrain, finetune, detect)]
    last = f"work_dirs/{Path(pretrain[0]).stem}/epoch_{configs[0].train_cfg.max_epochs}.pth"
    assert finetune[1]["overrides"] == {"model.init_cfg.checkpoint": last}
    assert detect[1]["overrides"] == {"model.backbone.init_cfg.checkpoint": last}
    assert configs[1].model.init_cfg.type == configs[2].model.backbone.init_cfg.type == "Pretrained"


@pytest.mark.parametrize("size", "tsbl")
def test_pretraining_follows_the_papers_table(size):
    cfg = load(f"pretrain_maxvit_{size}_imagenet")
    optimizer, (warm_up, cosine) = cfg.optim_wrapper.optimizer, cfg.param_scheduler
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 3e-3, 0.05)
    assert (cfg.total_batch_size, cfg.auto_scale_lr.base_batch_size, cfg.train_cfg.max_epochs) == (4096, 4096, 300)
    assert (warm_up.end, cosine.begin, cosine.end) == (32, 32, 300)
    assert optimizer.lr * cosine.eta_min_ratio == pytest.approx(1e-5)
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert cfg.model.data_preprocessor.mixup == dict(mixup_alpha=0.8) and cfg.model.label_smoothing == 0.1
    assert_paper_augmentation(cfg)
    assert cfg.default_hooks.ema.momentum == pytest.approx(1 - 0.9999)
    assert cfg.sync_bn == "torch"


def assert_paper_augmentation(cfg):
    """Two operations for every image, at magnitude 15 of 10."""
    transform = create_transform(**cfg.train_dataloader.dataset.transform, is_training=True)
    (augment,) = (step for step in transform.transforms if isinstance(step, RandAugment))
    assert augment.num_layers == 2
    assert {(op.prob, op.magnitude, op.magnitude_max, op.magnitude_std) for op in augment.ops} == {(1.0, 15, 15, 0)}


def test_the_average_decays_as_the_official_codes():
    hook = load("pretrain_maxvit_t_imagenet").default_hooks.ema
    assert hook.type == "StepEMAHook"
    norm = torch.nn.BatchNorm1d(1)  # its statistics are averaged too
    average = MODELS.get(hook.ema_type)(norm, **{k: hook[k] for k in ("momentum", "gamma", "update_buffers")})
    average.update_parameters(norm)  # the first step is where it begins
    wanted = norm.weight.item(), norm.running_mean.item()
    for step in range(5):
        norm.weight.data.fill_(torch.randn(()))
        norm.running_mean.fill_(torch.randn(()))
        average.update_parameters(norm)
        decay = min(0.9999, (1 + step) / (10 + step))
        now = norm.weight.item(), norm.running_mean.item()
        wanted = tuple(decay * old + (1 - decay) * new for old, new in zip(wanted, now, strict=True))
    found = average.module.weight.item(), average.module.running_mean.item()
    assert found == pytest.approx(wanted, abs=1e-6)


def test_the_pytorch_recipe_differs_as_published():
    cfg = load("pretrain_maxvit_t_cutmix_imagenet")
    assert cfg.train_dataloader.dataset.transform.auto_augment == "rand-m15-mstd0.5-inc1"
    assert cfg.model.data_preprocessor.mixup == dict(mixup_alpha=0.8, cutmix_alpha=1.0, prob=1.0, switch_prob=0.5)
    assert cfg.model.data_preprocessor.random_erasing == dict(probability=0.25, mode="pixel")
    assert "ema" not in cfg.default_hooks and "sync_bn" not in cfg
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 3e-3, 0.05)
    assert (cfg.total_batch_size, cfg.train_cfg.max_epochs, cfg.model.label_smoothing) == (4096, 300, 0.1)
    assert cfg.optim_wrapper.clip_grad.max_norm == 1.0
    assert optimizer.lr * cfg.param_scheduler[1].eta_min_ratio == pytest.approx(1e-5)
    assert cfg.param_scheduler[0].end == 30 and cfg.param_scheduler[0].start_factor * 3e-3 == pytest.approx(1e-6)


@pytest.mark.parametrize("size", "tsb")
@pytest.mark.parametrize(("pixels", "window"), [(384, 12), (512, 16)])
def test_fine_tuning_follows_the_papers_table(size, pixels, window):
    cfg = load(f"finetune_maxvit_{size}_{pixels}_imagenet")
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 5e-5, 1e-8)
    assert (cfg.total_batch_size, cfg.train_cfg.max_epochs, cfg.param_scheduler) == (512, 30, [])
    assert (cfg.optim_wrapper.clip_grad.max_norm, cfg.model.label_smoothing) == (1.0, 0.1)
    assert cfg.default_hooks.ema.momentum == pytest.approx(1 - 0.9999)
    assert_paper_augmentation(cfg)
    images = cfg.model.data_preprocessor
    assert images.mixup is None and images.mean == images.std == (0.5, 0.5, 0.5)
    assert cfg.model.network.window_size == window
    assert cfg.model.init_cfg.checkpoint == f"maxvit_{size}.in1k" and not cfg.model.init_cfg.head
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        assert loader.dataset.transform.input_size == pixels
    assert cfg.test_dataloader.dataset.transform.crop_mode == "squash"


@pytest.mark.skipif(torch.__version__ < "2.8", reason="needs PyTorch 2.8, whose FSDP2 knows CPUs")
def test_weights_in_shards_train_in_two_processes(data, tmp_path):
    """As far as a CPU goes: gloo in the place of NCCL, and no SyncBN, which the log says."""

    def shard(epochs, resume=None):
        overrides = {"total_batch_size": 8, "train_cfg.max_epochs": epochs}
        prepare.build_runner(small(FSDP, data, tmp_path, "pytorch", resume, **overrides)).train()

    assert run_processes(lambda: shard(1), 2) == [0, 0]
    assert run_processes(lambda: shard(2, "auto"), 2) == [0, 0]
    first, second = (read_source(str(tmp_path / f"epoch_{i}.pth")) for i in (1, 2))
    assert identify(second.weights).variant == "maxvit_mini"  # whole weights, as every other training's
    assert (second.run.epoch, second.run.iter) == (2, 2 * first.run.iter)
    best = read_checkpoint(next(tmp_path.glob("best_*.pth")))["meta"]
    assert (best["epoch"], best["iter"]) in {(1, first.run.iter), (2, second.run.iter)}
