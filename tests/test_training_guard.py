"""Training that is killed, stopped or goes wrong: what lies on disk afterwards, and how it goes on."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

import pytest
import torch
from torch import nn

pytest.importorskip("mmengine")

from mmengine.config import Config  # noqa: E402
from mmengine.dataset import DefaultSampler  # noqa: E402
from mmengine.fileio.backends import LocalBackend  # noqa: E402
from mmengine.model import BaseModel  # noqa: E402
from mmengine.runner import Runner  # noqa: E402
from mmengine.runner.checkpoint import save_checkpoint  # noqa: E402

from maxvit_dense.errors import InputError, TrainingStopped  # noqa: E402
from maxvit_dense.openmmlab.engine import training_guard  # noqa: E402
from maxvit_dense.openmmlab.engine.own_files import own_files, with_own_files  # noqa: E402
from maxvit_dense.openmmlab.engine.training_guard import adopt_seed, guard_training  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402

BATCHES = 5


class Numbers(torch.utils.data.Dataset):
    """Ten numbers; a batch holds two."""

    def __len__(self):
        return 2 * BATCHES

    def __getitem__(self, index):
        return dict(inputs=torch.tensor([float(index)]))


class Line(BaseModel):
    """One weight, and a record of what it was trained on."""

    def __init__(self, nan_at=None):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        nn.init.ones_(self.layer.weight)
        nn.init.ones_(self.layer.bias)
        self.seen, self.nan_at = [], nan_at

    def forward(self, inputs, mode="tensor"):
        inputs = torch.stack(list(inputs))
        self.seen.append(inputs.flatten().tolist())
        if mode == "predict":
            return inputs
        loss = self.layer(inputs / 10).square().mean()
        return dict(loss=loss * float("nan") if len(self.seen) == self.nan_at else loss)


def runner_of(work_dir, model=None, sampler=DefaultSampler, hooks=(), batch=2, metric=None, **changes):
    cfg = Config(
        dict(
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2),
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)),
            randomness=dict(seed=1),
        )
    )
    cfg.merge_from_dict(changes)
    guard_training(cfg)
    data = dict(dataset=Numbers(), batch_size=batch, sampler=dict(type=sampler), num_workers=0)
    return with_own_files(Runner)(
        model=model or Line(),
        work_dir=str(work_dir),
        train_dataloader=data,
        val_dataloader=data if metric else None,
        val_cfg=dict(type="ValLoop") if metric else None,
        val_evaluator=[metric] if metric else None,
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        custom_hooks=list(hooks),
        experiment_name=f"{work_dir}{time.time_ns()}",
        **{key: cfg[key] for key in ("train_cfg", "default_hooks", "randomness", "load_from", "resume") if key in cfg},
    )


@pytest.fixture(autouse=True)
def _quiet_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


class Act:
    """A hook that does something once after a given iteration."""

    def __init__(self, iteration, action):
        from mmengine.hooks import Hook

        class _Act(Hook):
            def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
                if runner.iter + 1 == iteration:
                    action()

        self.hook = _Act()


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    save_checkpoint(dict(state_dict=dict(w=torch.ones(3))), str(path))

    def full(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with own_files(), pytest.raises(OSError, match="No space"):
        save_checkpoint(dict(state_dict=dict(w=torch.zeros(3))), str(path))
    assert torch.equal(read_checkpoint(path)["state_dict"]["w"], torch.ones(3))


def test_a_full_disk_ends_a_run_with_the_last_good_checkpoint(tmp_path):
    def limit():  # stands for a full disk: no file may grow any more
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))

    runner = runner_of(tmp_path, hooks=[Act(BATCHES + 1, limit).hook])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(TrainingStopped, match=r"File too large.*last good checkpoint is .*epoch_1\.pth.*--resume"):
            runner.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_1.pth"]
    assert read_checkpoint(tmp_path / "epoch_1.pth")["meta"]["epoch"] == 1


def test_an_image_deleted_meanwhile_ends_a_run_with_the_last_good_checkpoint(tmp_path, monkeypatch):
    image, read = tmp_path / "image.jpg", Numbers.__getitem__
    image.touch()

    def read_image(self, index):
        image.read_bytes()
        return read(self, index)

    monkeypatch.setattr(Numbers, "__getitem__", read_image)
    runner = runner_of(tmp_path / "work", hooks=[Act(BATCHES + 1, image.unlink).hook])
    with pytest.raises(TrainingStopped, match=r"No such file.*image\.jpg.*last good .*epoch_1\.pth.*--resume"):
        runner.train()


def test_a_file_appears_only_when_it_is_whole(tmp_path, monkeypatch):
    seen = []
    replace = Path.replace
    monkeypatch.setattr(os, "fsync", lambda handle: seen.append(sorted(p.name for p in tmp_path.iterdir())))
    monkeypatch.setattr(Path, "replace", lambda a, b: (seen.append(a.read_bytes()), replace(a, b)))
    with own_files():
        LocalBackend().put(b"whole", tmp_path / "new.pth")
    assert seen == [[".new.pth.part"], b"whole"]
    assert [p.name for p in tmp_path.iterdir()] == ["new.pth"]


def test_the_old_checkpoint_outlives_the_writing_of_the_new_one(tmp_path, monkeypatch):
    runner = runner_of(tmp_path)
    there = []
    save = runner.save_checkpoint

    def note(*args, **kwargs):
        there.append(sorted(p.name for p in tmp_path.glob("*.pth")))
        save(*args, **kwargs)

    monkeypatch.setattr(runner, "save_checkpoint", note)
    runner.train()
    assert there == [[], ["epoch_1.pth"]]
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_2.pth"]  # max_keep_ckpts=1
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "epoch_2.pth")


def test_sigterm_saves_and_the_run_goes_on_with_the_next_batch(tmp_path):
    straight = runner_of(tmp_path / "straight")
    straight.train()

    stopped = runner_of(tmp_path / "stopped", hooks=[Act(BATCHES + 2, terminate).hook])
    with pytest.raises(SystemExit) as stop:
        stopped.train()
    assert stop.value.code == 143
    path = tmp_path / "stopped" / "iter_7.pth"
    assert (tmp_path / "stopped" / "last_checkpoint").read_text() == str(path)

    again = runner_of(tmp_path / "stopped", load_from=str(path), resume=True)
    again.train()
    assert stopped.model.seen + again.model.seen == straight.model.seen
    assert torch.equal(again.model.layer.weight, straight.model.layer.weight)
    assert again.iter == straight.iter == 2 * BATCHES


def terminate_often():
    """As Linux tells of a parent's death: once for each of its threads."""
    for _ in range(5):
        terminate()


def test_signals_that_come_together_are_one_request(tmp_path):
    runner = runner_of(tmp_path, hooks=[Act(3, terminate_often).hook])
    with pytest.raises(SystemExit) as stop:
        runner.train()
    assert stop.value.code == 143
    assert (tmp_path / "last_checkpoint").read_text() == str(tmp_path / "iter_3.pth")


def test_a_later_sigterm_goes_to_the_handler_that_was_there(tmp_path, monkeypatch):
    received = []
    signal.signal(signal.SIGTERM, lambda *_: received.append(1))
    monkeypatch.setattr(training_guard, "ONE_REQUEST_SECONDS", -1.0)
    with pytest.raises(SystemExit):
        runner_of(tmp_path, hooks=[Act(3, terminate_often).hook]).train()
    assert len(received) == 4


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("middle", [False, True])
def test_after_another_batch_the_next_epoch_begins_whole(batch, middle, tmp_path, caplog):
    """Ten images in batches of 2, then of 1 or 5, resumed after the first epoch or in the second's middle."""
    stop = BATCHES + 2 if middle else 2 * BATCHES
    stopped = runner_of(tmp_path / "run", hooks=[Act(stop, terminate).hook] if middle else ())
    with pytest.raises(SystemExit) if middle else contextlib.nullcontext():
        stopped.train()
    path = tmp_path / "run" / (f"iter_{stop}.pth" if middle else "epoch_2.pth")
    epochs = 2 if middle else 3
    changes = {"train_cfg.max_epochs": epochs}
    again = runner_of(tmp_path / "run", batch=batch, load_from=str(path), resume=True, **changes)
    with caplog.at_level("WARNING", logger=again.logger.name):
        again.logger.addHandler(caplog.handler)
        again.train()
    assert sorted(x for seen in again.model.seen for x in seen) == sorted(x for s in stopped.model.seen[:5] for x in s)
    said = [record.message for record in caplog.records if "begins whole" in record.message]
    assert len(said) == 1 and f"had {BATCHES} batches an epoch, this one has {10 // batch}" in said[0]


class Slow:
    """An evaluation that asks the run to stop, and would take ten minutes."""

    def __init__(self):
        from mmengine.evaluator import BaseMetric

        class _Slow(BaseMetric):
            def process(self, data_batch, data_samples):
                terminate()
                time.sleep(600)

            def compute_metrics(self, results):
                return {}

        self.metric = _Slow()


class Score:
    """An evaluation with the given result."""

    def __init__(self, result):
        from mmengine.evaluator import BaseMetric

        class _Score(BaseMetric):
            def process(self, data_batch, data_samples):
                self.results.append(0)

            def compute_metrics(self, results):
                return dict(result)

        self.metric = _Score()


@pytest.mark.parametrize("result", [{}, {"score": 0.5}])
def test_a_best_metric_that_the_evaluation_does_not_give_is_named(tmp_path, result):
    save_best = {"default_hooks.checkpoint.save_best": "accuracy", "default_hooks.checkpoint.rule": "greater"}
    runner = runner_of(tmp_path, metric=Score(result).metric, **save_best)
    if not result:  # a detector that finds nothing yet
        runner.train()
        assert runner.epoch == 2
        return
    with pytest.raises(InputError, match=r"save_best names accuracy, .* gives score\. .*epoch_1\.pth"):
        runner.train()


def test_sigterm_leaves_an_evaluation_and_saves_the_weights_in_training(tmp_path):
    ema = dict(type="EMAHook", momentum=0.5)
    straight = runner_of(tmp_path / "straight", hooks=[ema])
    straight.train()
    stopped = runner_of(tmp_path / "stopped", hooks=[ema], metric=Slow().metric)
    with pytest.raises(SystemExit) as stop:
        stopped.train()
    assert stop.value.code == 143
    path = tmp_path / "stopped" / f"iter_{BATCHES}.pth"
    assert (tmp_path / "stopped" / "last_checkpoint").read_text() == str(path)
    there, regular = read_checkpoint(path), read_checkpoint(tmp_path / "straight" / "epoch_2.pth")
    assert there["meta"]["epoch"] == 1 and regular["meta"]["epoch"] == 2

    again = runner_of(tmp_path / "stopped", hooks=[ema], load_from=str(path), resume=True)
    again.train()
    assert torch.equal(again.model.layer.weight, straight.model.layer.weight)
    averages = [read_checkpoint(tmp_path / name / "epoch_2.pth")["state_dict"] for name in ("straight", "stopped")]
    assert torch.equal(averages[0]["layer.weight"], averages[1]["layer.weight"])


def test_accumulated_gradients_are_used_before_a_stop(tmp_path):
    runner = runner_of(tmp_path, hooks=[Act(1, terminate).hook])
    runner.optim_wrapper["accumulative_counts"] = 5
    with pytest.raises(SystemExit):
        runner.train()
    assert [p.name for p in tmp_path.glob("iter_*.pth")] == ["iter_5.pth"]


def test_a_loss_that_turns_nan_stops_and_keeps_the_last_good_checkpoint(tmp_path):
    runner = runner_of(tmp_path, model=Line(nan_at=BATCHES + 3))
    with pytest.raises(TrainingStopped, match=r"iteration 8 \(epoch 2\): loss is nan; .*epoch_1\.pth"):
        runner.train()
    weights = read_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]
    assert all(torch.isfinite(value).all() for value in weights.values())
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_weights_that_turned_nan_are_not_saved(tmp_path):
    model = Line()
    runner = runner_of(
        tmp_path, model=model, hooks=[Act(2 * BATCHES, lambda: model.layer.weight.data.fill_(torch.inf)).hook]
    )
    with pytest.raises(TrainingStopped, match="iteration 10 .*tensors of the model .* are no longer finite.*epoch_1"):
        runner.train()
    assert [p.name for p in tmp_path.glob("*.pth")] == ["epoch_1.pth"]


def test_a_config_without_seed_takes_that_of_the_run_it_resumes():
    cfg = Config(dict(randomness=dict(seed=None)))
    adopt_seed(cfg, dict(meta=dict(seed=77)))
    assert cfg.randomness.seed == 77
    adopt_seed(cfg, dict(meta=dict(seed=3)))
    assert cfg.randomness.seed == 77  # what the config says stands


def test_parts_that_a_config_chose_itself_stay():
    cfg = Config(dict(train_cfg=dict(type="IterBasedTrainLoop"), default_hooks=dict(checkpoint=dict(type="MyHook"))))
    guard_training(cfg)
    assert cfg.train_cfg.type == "IterBasedTrainLoop" and cfg.default_hooks.checkpoint.type == "MyHook"
