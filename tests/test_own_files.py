"""Every way in which mmengine opens a checkpoint is safe, and the terminal shows what people can act on."""

import io
import logging
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

pytest.importorskip("mmengine")

import mmengine.runner.checkpoint as mmengine_checkpoint  # noqa: E402
from mmengine.evaluator import BaseMetric  # noqa: E402
from mmengine.fileio import get_file_backend  # noqa: E402
from mmengine.fileio.backends import LocalBackend  # noqa: E402
from mmengine.logging import MMLogger  # noqa: E402
from mmengine.model import BaseModel, BaseModule  # noqa: E402
from mmengine.runner import CheckpointLoader, Runner, load_checkpoint  # noqa: E402

import maxvit_dense.openmmlab  # noqa: E402, F401
from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.engine import own_files  # noqa: E402
from maxvit_dense.weights.safe_load import extract_state_dict, read_checkpoint  # noqa: E402
from tests.spoil import WritesAFile  # noqa: E402


@pytest.fixture
def hostile(tmp_path):
    """A checkpoint with weights and a call that would create the file ``proof``."""
    path = tmp_path / "h.pth"
    torch.save({"state_dict": nn.Linear(2, 2).state_dict(), "meta": WritesAFile(tmp_path / "proof")}, path)
    return path


def open_locally(path, monkeypatch):
    CheckpointLoader.load_checkpoint(str(path))


def open_stream(path, monkeypatch):
    mmengine_checkpoint.torch.load(io.BytesIO(path.read_bytes()))


def open_asking_for_objects(path, monkeypatch):
    mmengine_checkpoint.torch.load(str(path), weights_only=False)


def open_into_model(path, monkeypatch):
    load_checkpoint(nn.Linear(2, 2), str(path))


def open_by_init_cfg(path, monkeypatch):
    class Module(BaseModule):
        def __init__(self):
            super().__init__(init_cfg=dict(type="Pretrained", checkpoint=str(path)))
            self.fc = nn.Linear(2, 2)

    Module().init_weights()


def open_by_address(path, monkeypatch):
    monkeypatch.setattr(own_files, "download_checkpoint", lambda url, progress: path)
    CheckpointLoader.load_checkpoint("https://example.org/h.pth")


def open_by_zoo_name(path, monkeypatch):
    monkeypatch.setattr(own_files, "download_checkpoint", lambda url, progress: path)
    CheckpointLoader.load_checkpoint("torchvision://resnet50")


WAYS = [
    open_locally,
    open_stream,
    open_asking_for_objects,
    open_into_model,
    open_by_init_cfg,
    open_by_address,
    open_by_zoo_name,
]


@pytest.mark.parametrize("way", WAYS)
def test_a_run_refuses_a_hostile_checkpoint(hostile, way, monkeypatch):
    with own_files.own_files(), pytest.raises(InputError, match="system"):
        way(hostile, monkeypatch)
    assert not (hostile.parent / "proof").exists()


def test_without_this_package_mmengine_would_run_it(hostile):
    """The reason for it all: what mmengine's own fallback does."""
    torch.load(hostile, weights_only=False)
    assert (hostile.parent / "proof").exists()


def test_every_scheme_opens_files_by_the_replaced_names():
    """A loader that opened files in another way would slip past the replacement."""
    for loader in CheckpointLoader._schemes.values():
        assert {"_safe_torch_load", "load_url", "load_from_http", "torch"} & set(loader.__code__.co_names), loader


def parts_of_mmengine():
    parts = [getattr(mmengine_checkpoint, name, None) for name in ("torch", "load_url", "_safe_torch_load")]
    return [*parts, LocalBackend.put, LocalBackend.put_text, get_file_backend("x").__class__]


def test_outside_a_run_mmengine_is_as_it_was():
    before = parts_of_mmengine()
    with own_files.own_files():
        assert parts_of_mmengine() != before
    assert parts_of_mmengine() == before


UNTOUCHED = """
import mmengine.runner.checkpoint as checkpoint, mmengine.fileio.backends as backends
def parts():
    names = [name for name in dir(checkpoint) if not name.startswith("__")]
    local = backends.LocalBackend
    return {n: getattr(checkpoint, n) for n in names}, backends.backends.copy(), dict(vars(local))
before = parts()
import maxvit_dense.openmmlab
assert parts() == before
print("as it was")
"""


def test_the_import_changes_nothing_of_mmengines_files():
    result = subprocess.run([sys.executable, "-W", "ignore", "-c", UNTOUCHED], capture_output=True, text=True)
    assert result.stdout.splitlines()[-1:] == ["as it was"], result.stderr


@pytest.mark.parametrize("wrap", [lambda w: w, lambda w: {"model": w}, lambda w: {"state_dict_ema": w}])
def test_layouts_that_mmengine_does_not_know_load_too(tmp_path, wrap):
    source, target = nn.Linear(3, 2), nn.Linear(3, 2)
    torch.save(wrap(source.state_dict()), tmp_path / "w.pth")
    with own_files.own_files():
        load_checkpoint(target, str(tmp_path / "w.pth"), strict=True)
    assert torch.equal(source.weight, target.weight)


# A Runner's own checkpoints.


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(2, 2)
        self.bn = nn.BatchNorm1d(2)

    def forward(self, inputs, mode="tensor"):
        outputs = self.bn(self.fc(torch.stack(list(inputs))))
        return dict(loss=outputs.square().mean()) if mode == "loss" else [{}]


class Points(Dataset):
    metainfo = dict(classes=("a", "b"), palette=np.zeros((2, 3), dtype=int))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        return dict(inputs=torch.randn(2))


class Figures(BaseMetric):
    """Metrics in each kind of number that an evaluator may return."""

    def process(self, data_batch, data_samples):
        self.results.append(1)

    def compute_metrics(self, results):
        return dict(double=np.float64(0.5), single=np.float32(0.25), count=np.int64(3), plain=1.0)


def run(work_dir, **options):
    data = dict(dataset=Points(), batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False))
    one_cycle = dict(type="OneCycleLR", eta_max=0.1, total_steps=9, by_epoch=False)
    return own_files.with_own_files(Runner)(
        model=Model(),
        work_dir=str(work_dir),
        train_dataloader=data,
        train_cfg=dict(by_epoch=True, max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="AdamW", lr=0.1)),
        param_scheduler=[dict(type="LinearLR", start_factor=0.1, by_epoch=False, end=3), one_cycle],
        val_dataloader=data,
        val_cfg=dict(),
        val_evaluator=[dict(type=Figures)],
        custom_hooks=[dict(type="EMAHook")],
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="double", rule="greater")),
        experiment_name=f"{work_dir}{len(options)}",  # mmengine shares loggers and records by this name
        **options,
    )


def test_all_of_a_runners_checkpoint_survives(tmp_path):
    runner = run(tmp_path)
    runner.train()
    checkpoint = read_checkpoint(tmp_path / "epoch_2.pth")
    history = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert history.mean(4) == runner.message_hub.get_scalar("train/loss").mean(4)
    assert checkpoint["message_hub"]["runtime_info"]["best_score"] == 0.5
    assert checkpoint["optimizer"]["param_groups"][0]["lr"] == runner.optim_wrapper.get_lr()["lr"][0]
    raw = extract_state_dict(checkpoint, averaged=False)
    assert torch.equal(raw["fc.weight"], runner.model.fc.weight)
    assert not torch.equal(extract_state_dict(checkpoint)["fc.weight"], raw["fc.weight"])
    # What mmengine itself reads, unpickling without limits, is the same.
    assert pickle.dumps(checkpoint["meta"]) == pickle.dumps(
        torch.load(tmp_path / "epoch_2.pth", weights_only=False)["meta"]
    )


def test_a_runner_resumes_from_it(tmp_path):
    run(tmp_path).train()
    runner = run(tmp_path, resume=True, load_from=str(tmp_path / "epoch_1.pth"))
    runner.train()
    assert runner.epoch == 2 and runner.iter == 4
    assert len(runner.message_hub.get_scalar("train/loss").data[0]) == 4  # history of both epochs


def test_long_messages_go_to_the_file_alone(tmp_path, capsys):
    logger = MMLogger(name="quiet", log_file=str(tmp_path / "run.log"), log_level="INFO")
    (shown,) = [handler for handler in logger.handlers if not isinstance(handler, logging.FileHandler)]
    own_files.quieten(logger)
    own_files.quieten(logger)
    assert len(shown.filters) == len({id(f) for f in shown.filters})
    logger.info("Config:\nmodel = dict()")
    logger.info("\n------\nSystem environment:\n    python")
    logger.info("\nper class results:\n+---+")
    logger.info("Epoch(train) [1][3/3]  loss: 1")
    captured = capsys.readouterr()
    said = captured.err + captured.out
    assert "per class results" in said and "loss: 1" in said
    assert "model = dict()" not in said and "System environment" not in said
    text = (tmp_path / "run.log").read_text()
    assert "model = dict()" in text and "System environment" in text and "loss: 1" in text
