"""What a training step reads from its device: nothing, but where a line is logged."""

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

pytest.importorskip("mmengine")

from mmengine.hooks import Hook  # noqa: E402

from maxvit_dense.benchmark.counting import Counter  # noqa: E402
from maxvit_dense.errors import TrainingStopped  # noqa: E402
from maxvit_dense.openmmlab.engine import step_record, training_guard  # noqa: E402
from tests.test_training_guard import BATCHES, Line, runner_of  # noqa: E402

_READS = {Tensor.item, Tensor.tolist, Tensor.cpu, Tensor.numpy, Tensor.__float__, Tensor.__bool__, Tensor.__int__}


class Reads(TorchFunctionMode):
    """Names of the calls that bring a value of a tensor to the host."""

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func in _READS:
            self.found.append(func.__name__)
        return func(*args, **(kwargs or {}))


class Watch(Hook):
    """Counts the reads of each step: of the forward and backward pass, the optimizer and all other hooks."""

    priority = "LOWEST"

    def __init__(self):
        self.steps = []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.reads, self.counter = Reads(), Counter()
        self.reads.__enter__()
        self.counter.__enter__()

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.counter.__exit__(None, None, None)
        self.reads.__exit__(None, None, None)
        self.steps.append(len(self.reads.found) + sum(self.counter.counts.waits.values()))


class Loss(Line):
    """A loss, and nothing that looks at values."""

    def __init__(self, nan_at=None):
        super().__init__()
        self.calls, self.nan_at = 0, nan_at

    def forward(self, inputs, mode="tensor"):
        self.calls += 1
        loss = self.layer(torch.stack(list(inputs)) / 10).square().mean()
        return dict(loss=loss * float("nan") if self.calls == self.nan_at else loss)


@pytest.fixture
def on_a_device(monkeypatch):
    """Tensors of this CPU pass for those of a device, where reading one waits."""
    for module in (step_record, training_guard):
        monkeypatch.setattr(module, "stays_on_device", lambda value: isinstance(value, Tensor))


def runner_with(work_dir, hooks, model=None, **changes):
    runner = runner_of(work_dir, model or Loss(), hooks=hooks, **changes)
    clip = dict(max_norm=1.0)
    runner.optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01), clip_grad=clip)
    return runner


def record(runner, name):
    return [float(value) for value in runner.message_hub.get_scalar(f"train/{name}").data[0]]


def test_a_step_reads_nothing_from_its_device(on_a_device, tmp_path):
    watch = Watch()
    runner_with(tmp_path, [watch]).train()
    last = BATCHES - 1
    assert [step for i, step in enumerate(watch.steps) if i % BATCHES != last] == [0] * 2 * last
    assert all(step > 0 for step in watch.steps[last::BATCHES])  # the epoch's end is logged: the watch does see reads


def test_what_is_read_later_is_the_record_of_each_step(on_a_device, tmp_path, monkeypatch):
    late = runner_with(tmp_path / "late", [])
    late.train()
    monkeypatch.undo()
    at_once = runner_with(tmp_path / "at_once", [])
    at_once.train()
    for name in ("loss", "grad_norm"):
        assert record(late, name) == pytest.approx(record(at_once, name)) and len(record(late, name)) == 2 * BATCHES


def test_a_loss_that_is_nan_on_a_device_is_named_by_its_own_step(on_a_device, tmp_path):
    runner = runner_with(tmp_path, [], Loss(nan_at=BATCHES + 2))
    with pytest.raises(TrainingStopped, match=r"iteration 7 \(epoch 2\): loss is nan"):
        runner.train()


def test_a_checkpoint_holds_the_record_up_to_it(on_a_device, tmp_path):
    every_two = dict(type="CheckpointHook", by_epoch=False, interval=2, max_keep_ckpts=-1)
    runner_with(tmp_path, [], default_hooks=dict(checkpoint=every_two)).train()
    saved = torch.load(tmp_path / "iter_2.pth", weights_only=False)["message_hub"]
    assert saved["log_scalars"]["train/loss"].data[0].size == 2
