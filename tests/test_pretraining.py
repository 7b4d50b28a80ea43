"""ImageNet training through the command lines: a killed run goes on exactly, processes add up, weights must fit."""

import importlib
import json
import os
import re
import signal

import pytest
import timm
import torch
import torchvision

pytest.importorskip("mmdet", reason="tools/ need mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from mmengine.dist import all_reduce, get_rank  # noqa: E402
from mmengine.hooks import Hook  # noqa: E402

from maxvit_dense.export.sources import read_source  # noqa: E402
from maxvit_dense.openmmlab.config.load import build_model  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402
from tests.class_folders import CLASSES, write_folders, write_shards  # noqa: E402
from tests.commands import log_of, refused  # noqa: E402
from tests.pretraining import write_config  # noqa: E402
from tests.processes import run_processes, start  # noqa: E402

train = importlib.import_module("tools.train").main
evaluate = importlib.import_module("tools.test").main


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """24 training images of three classes, 6 of validation."""
    return write_folders(tmp_path_factory.mktemp("data") / "images")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def trained(config, data, tmp_path_factory):
    """The work dir of two epochs of six batches, three optimizer steps."""
    work_dir = tmp_path_factory.mktemp("trained")
    options = [str(config), "--data-root", str(data), "--work-dir", str(work_dir), "--cfg-options", "randomness.seed=5"]
    assert train(options) == 0
    return work_dir


# What a run leaves behind.


def test_training_shows_accuracy_throughput_and_time_left(trained):
    log = log_of(trained)
    line = [line for line in log.splitlines() if "Epoch(train)" in line][-1]
    for figure in ("lr: ", "eta: ", "loss: ", "memory: ", "model_rate: ", "load_rate: "):
        assert figure in line
    assert "[2][6/6]" in line
    assert re.search(r"accuracy/top1: [\d.]+  accuracy/top5: 100.0", log)


def test_a_run_becomes_weights_with_a_card_that_timm_loads(trained, tmp_path):
    convert = importlib.import_module("tools.convert_checkpoint").main
    for options, weights in ((), "averaged"), (("--raw",), "raw"):
        assert convert([str(trained), str(tmp_path / weights), *options]) == 0
        card = json.loads((tmp_path / weights / "card.json").read_text())
        assert (card["recipe"]["config"], card["data"], card["weights"]) == ("tiny", "images", weights)
        assert card["trained_with"] == dict(commit=card["commit"], versions=card["versions"])  # this very software
        assert (card["metric"] or {}).keys() == ({"accuracy/top1", "accuracy/top5"} if weights == "averaged" else set())
        net = timm.create_model(f"local-dir:{tmp_path / weights}", pretrained=True)
        assert card["epoch"] == 2 and net.num_classes == 3
        assert net.pretrained_cfg["label_names"] == list(CLASSES)


def test_weights_of_the_middle_of_an_epoch_have_no_metric(trained):
    log = next(trained.glob("*/vis_data/scalars.json"))
    whole = log.read_text()
    log.write_text(whole + json.dumps({"accuracy/top1": 1.0, "step": 1}) + "\n")  # as if epoch 1 had been evaluated
    middle = read_source(str(trained / "iter_10.pth")).run
    log.write_text(whole)
    assert (middle.epoch, middle.iter, middle.metric) == (1, 10, None)


def test_the_average_moves_at_optimizer_steps_alone(trained):
    assert read_checkpoint(trained / "iter_12.pth")["ema_state_dict"]["steps"] == 6  # two batches a step


def test_the_work_dirs_config_evaluates_its_checkpoint(trained, capsys, tmp_path):
    arguments = [str(trained / "tiny.py"), str(trained / "iter_12.pth"), "--out", str(tmp_path / "r.json")]
    assert evaluate([*arguments, "--work-dir", str(tmp_path / "work")]) == 0
    logged = float(re.search(r"accuracy/top1: ([\d.]+)", log_of(trained)).group(1))
    assert json.loads((tmp_path / "r.json").read_text())["metrics"]["accuracy/top1"] == pytest.approx(logged, abs=1e-3)


def flat(value, name=""):
    """Every number and tensor of a checkpoint by its path."""
    if isinstance(value, dict):
        value = value.items()
    elif isinstance(value, list):
        value = enumerate(value)
    else:
        yield name, value
        return
    for key, inner in value:
        yield from flat(inner, f"{name}.{key}")


def with_hook(runner, hook):
    runner.register_hook(hook)
    return runner


def test_a_killed_run_goes_on_to_the_same_weights_bit_for_bit(trained, options, tmp_path):
    work_dir = tmp_path / "work"
    # Another number of workers than the uninterrupted run's, which changes nothing either.
    extra = ["--cfg-options", "randomness.seed=5", "train_dataloader.num_workers=1"]

    def train_and_die():
        class Die(Hook):
            def after_train_iter(self, runner, *args, **kwargs):
                if runner.iter == 4:  # the fifth
                    os.killpg(0, signal.SIGKILL)  # data workers too

        build = prepare.build_runner
        prepare.build_runner = lambda cfg: with_hook(build(cfg), Die())
        train([*options, *extra])

    process = start(train_and_die)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert max(int(path.stem.removeprefix("iter_")) for path in work_dir.glob("iter_*.pth")) == 4
    assert (work_dir / "last_checkpoint").exists()

    assert train([*options, "--resume"]) == 0  # the seed comes from the checkpoint
    ours, theirs = (read_checkpoint(folder / "iter_12.pth") for folder in (work_dir, trained))
    for part in ("state_dict", "ema_state_dict", "optimizer", "param_schedulers"):
        expected = dict(flat(theirs[part]))
        assert expected.keys() == dict(flat(ours[part])).keys()
        for name, value in flat(ours[part]):
            same = torch.equal(value, expected[name]) if isinstance(value, torch.Tensor) else value == expected[name]
            assert same, f"{part}{name}"


# Several processes.


class Losses(Hook):
    """Losses of all steps, each the mean over the processes."""

    def __init__(self):
        self.losses = []

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        loss = outputs["loss"].detach().clone()
        all_reduce(loss, "mean")
        self.losses.append(float(loss))


def losses(config, data, work_dir, launcher, overrides):
    cfg = prepare.prepare_training(
        str(config), data_root=str(data), work_dir=str(work_dir), launcher=launcher, overrides=overrides
    )
    hook = Losses()
    with_hook(prepare.build_runner(cfg), hook).train()
    return hook.losses


def test_two_processes_equal_one(config, data, tmp_path):
    overrides = {
        "randomness.seed": 5,
        "train_cfg.max_epochs": 10,
        "train_cfg.val_interval": 100,
        "default_hooks.checkpoint.interval": -1,
        "default_hooks.checkpoint.save_last": False,
        "total_batch_size": 16,
        "model.norm_eval": True,  # SyncBN runs on GPUs only
        "model.network.drop_path_rate": 0.0,
        "model.data_preprocessor.mixup": None,  # mixes images of one process
        "model.data_preprocessor.random_erasing": None,
        "optim_wrapper.optimizer.lr": 1e-4,
        "param_scheduler": [],
    }
    halves, whole = ({**overrides, "train_dataloader.batch_size": size} for size in (8, 16))
    one = losses(config, data, tmp_path / "one", "none", whole)

    def half():
        found = losses(config, data, tmp_path / "two", "pytorch", halves)
        (tmp_path / f"{get_rank()}.json").write_text(json.dumps(found))

    assert run_processes(half, 2) == [0, 0]
    two = json.loads((tmp_path / "0.json").read_text())
    assert len(one) == len(two) == 10 and one[-1] != one[0]
    assert two == pytest.approx(one, abs=1e-5)


def test_processes_leave_together_when_one_is_asked_to_stop(config, data, tmp_path):
    overrides = {"train_cfg.max_epochs": 50, "train_cfg.val_interval": 100, "train_dataloader.batch_size": 4}

    def stop_early():
        class Ask(Hook):
            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                if runner.iter == 3 and get_rank() == 1:
                    os.kill(os.getpid(), signal.SIGTERM)

        cfg = prepare.prepare_training(
            str(config), data_root=str(data), work_dir=str(tmp_path), launcher="pytorch", overrides=overrides
        )
        with_hook(prepare.build_runner(cfg), Ask()).train()

    assert run_processes(stop_early, 2) == [143, 143]
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_4.pth")


# What the config leaves to the data and the machine.


def test_classes_accumulation_and_learning_rate_follow_data_and_processes(options):
    cfg = prepare.prepare_training(
        options[0], data_root=options[2], work_dir=options[4], auto_scale_lr=True,
        overrides={"total_batch_size": 24, "train_dataloader.batch_size": 6},
    )  # fmt: skip
    assert cfg.model.network.num_classes == 3 == cfg.model.data_preprocessor.num_classes
    assert cfg.train_dataloader.dataset.metainfo.classes == CLASSES
    assert cfg.optim_wrapper.accumulative_counts == 4
    runner = prepare.build_runner(cfg)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    assert runner.optim_wrapper.optimizer.param_groups[0]["lr"] == pytest.approx(3e-3 * 24 / 8)


def test_a_tag_decides_size_crop_and_normalisation(options, data, tmp_path):
    from maxvit_dense.openmmlab.data.configure import configure_data

    cfg = Config.fromfile(options[0])
    cfg.launcher = "none"
    cfg.model.network.model_name = "maxvit_t.in1k_384"
    overrides = {"test_dataloader.dataset.transform.crop_pct": 0.9}
    cfg.merge_from_dict(overrides)
    configure_data(cfg, ("test",), data_root=str(data), overrides=overrides)
    transform = cfg.test_dataloader.dataset.transform
    assert transform.input_size == (3, 384, 384) and transform.crop_mode == "squash"
    assert transform.crop_pct == 0.9  # the command line's
    assert cfg.model.data_preprocessor.mean == (0.5, 0.5, 0.5) == transform.mean


def test_weights_of_timm_are_evaluated(config, tmp_path, capsys):
    from safetensors.torch import save_file

    net = timm.create_model("maxvit_mini", num_classes=3)
    save_file({k: v.contiguous() for k, v in net.state_dict().items()}, tmp_path / "mini.safetensors")
    data = write_shards(tmp_path / "shards")
    assert evaluate([str(config), str(tmp_path / "mini.safetensors"), "--data-root", str(data),
                     "--work-dir", str(tmp_path / "work")]) == 0  # fmt: skip
    assert "accuracy/top1" in capsys.readouterr().out


def test_a_run_that_diverges_ends_with_its_step_and_exit_code_1(options, capsys):
    assert train([*options, "--cfg-options", "optim_wrapper.optimizer.lr=1e30", "param_scheduler=[]"]) == 1
    said = capsys.readouterr().err
    assert re.search(r"Training stopped at iteration \d+ \(epoch 1\): loss is (nan|inf)", said), said


# Weights that do not fit.


def cows_for_cats(root):
    for split in ("train", "val"):
        (root / split / "cat").rename(root / split / "cow")
    return str(root)


@pytest.mark.parametrize("resumes", [False, True])
def test_a_checkpoint_of_other_classes_is_refused_even_with_as_many(resumes, trained, options, capsys, tmp_path):
    options[2], checkpoint = cows_for_cats(write_folders(tmp_path / "copy")), str(trained / "iter_12.pth")
    arguments = [*options, "--resume", checkpoint] if resumes else [options[0], checkpoint, *options[1:]]
    said = refused(train if resumes else evaluate, arguments, capsys, tmp_path)
    assert "1 classes that the checkpoint was not trained on (cow)" in said


def test_weights_of_another_number_of_classes_are_refused(options, capsys, tmp_path):
    torch.save(timm.create_model("maxvit_mini", num_classes=5).state_dict(), tmp_path / "five.pth")
    said = refused(evaluate, [options[0], str(tmp_path / "five.pth"), *options[1:]], capsys, tmp_path)
    assert "another model" in said and "head.fc.weight: [5, 256], not [3, 256]" in said


def test_torchvisions_file_is_refused_by_the_official_network(options, capsys, tmp_path):
    torch.save(torchvision.models.maxvit_t(input_size=(224, 224)).state_dict(), tmp_path / "tv.pth")
    arguments = [options[0], str(tmp_path / "tv.pth"), *options[1:], "--cfg-options"]
    said = refused(evaluate, [*arguments, "model.network.model_name=maxvit_t"], capsys, tmp_path)
    assert "maxvit_t.tv_in1k" in said and said.count("\n") < 5


@pytest.mark.parametrize("same", [True, False])
def test_a_classifier_is_kept_for_the_same_classes_alone(trained, options, tmp_path, same):
    root = write_folders(tmp_path / "copy")
    start = dict(type="Pretrained", checkpoint=str(trained / "iter_12.pth"), head=True)
    cfg = prepare.prepare_training(
        options[0], data_root=str(root) if same else cows_for_cats(root), work_dir=options[4],
        overrides={"model.init_cfg": start},
    )  # fmt: skip
    model = build_model(cfg)
    fresh = model.backbone.net.head.fc.weight.clone()
    model.init_weights()
    theirs = read_checkpoint(trained / "iter_12.pth")["state_dict"]["backbone.net.head.fc.weight"]
    assert torch.equal(model.backbone.net.head.fc.weight, theirs if same else fresh)


def test_the_optimizer_state_of_another_model_is_refused(trained, options, capsys, tmp_path):
    checkpoint = read_checkpoint(trained / "iter_12.pth")
    checkpoint["optimizer"]["state"][0]["exp_avg"] = torch.zeros(7, 7)
    torch.save(checkpoint, tmp_path / "mixed.pth")
    said = refused(train, [*options, "--resume", str(tmp_path / "mixed.pth")], capsys, tmp_path)
    assert "optimizer state of another model" in said and "[7, 7]" in said
