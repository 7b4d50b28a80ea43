"""Several processes: whose failure ended a run is said, and nobody waits for a time-out."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mmengine")

ROOT = Path(__file__).resolve().parent.parent

# A run of two processes over gloo; on rank 1 something goes wrong in the third step.
SCRIPT = """
import os, sys
sys.path.insert(0, ROOT)
import torch
from tools._arguments import outcome
from mmengine.config import Config
from mmengine.model import BaseModel
from mmengine.runner import Runner
import maxvit_dense.openmmlab
from maxvit_dense.errors import InputError
from maxvit_dense.openmmlab.launch import init_cpu_group
from maxvit_dense.openmmlab.own_files import with_own_files
from maxvit_dense.openmmlab.training_guard import guard_training

HERE = os.environ["RANK"] == "1"

class Numbers(torch.utils.data.Dataset):
    def __len__(self):
        return 400
    def __getitem__(self, index):
        if KIND == "image" and HERE and index >= 8:
            raise InputError("Image broken.png cannot be read.")
        return dict(inputs=torch.full((4,), float(index)))

class Line(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer, self.steps = torch.nn.Linear(4, 1), 0
    def forward(self, inputs, mode):
        self.steps += 1
        loss = self.layer(torch.stack(list(inputs))).mean()
        if HERE and self.steps == 3 and KIND == "nan":
            loss = loss * float("nan")
        if HERE and self.steps == 3 and KIND == "bug":
            raise KeyError("a bug")
        return dict(loss=loss)

init_cpu_group("pytorch")
cfg = Config(dict(train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=1),
                  default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
                  model_wrapper_cfg=dict(type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False)))
guard_training(cfg)
runner = with_own_files(Runner)(
    model=Line(), work_dir=WORK, launcher="pytorch", cfg=cfg, train_cfg=cfg.train_cfg, default_hooks=cfg.default_hooks,
    train_dataloader=dict(dataset=Numbers(), batch_size=2, sampler=dict(type="DefaultSampler", shuffle=False),
                          num_workers=1),
    optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)), experiment_name="launch" + KIND)
sys.exit(outcome("train", runner.train))
"""


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("nan", "train (rank 1): Training stopped at iteration 3"),
        ("image", "train (rank 1): Image broken.png cannot be read."),
        ("bug", "KeyError: 'a bug'"),
    ],
)
def test_a_failure_of_one_process_is_said_and_ends_all(kind, said, tmp_path):
    script = tmp_path / "train.py"
    script.write_text(f"ROOT, WORK, KIND = {str(ROOT)!r}, {str(tmp_path / 'work')!r}, {kind!r}\n{SCRIPT}")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(script)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=280)  # gloo's is half an hour
    assert run.returncode == 1
    assert said in run.stderr
