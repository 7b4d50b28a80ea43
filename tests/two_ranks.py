"""A training of two processes over gloo, as torchrun starts them: what the tests of ends and failures run.

``torchrun tests/two_ranks.py WORK_DIR KIND``; from its third step on rank 1, a KIND of "nan", "image" or "bug" goes
wrong. WORK_DIR/began-PID tells that a process has come to its fifth step.
"""

import os
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parent.parent


def launch(work: Path, kind: str, log: IO[str]) -> subprocess.Popen:
    """Start the two processes; both write to ``log``."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen([*command, str(work), kind], env=variables, stdout=log, stderr=log)


def main(work: str, kind: str) -> int:
    sys.path.insert(0, str(ROOT))
    import torch
    from mmengine.config import Config
    from mmengine.model import BaseModel
    from mmengine.runner import Runner

    import maxvit_dense.openmmlab  # noqa: F401 (registers)
    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.engine.launch import begin_worker, init_cpu_group, prepare_launch
    from maxvit_dense.openmmlab.engine.own_files import with_own_files
    from maxvit_dense.openmmlab.engine.training_guard import guard_training
    from tools._arguments import outcome

    wrong = kind if os.environ["RANK"] == "1" else ""

    class Numbers(torch.utils.data.Dataset):
        def __len__(self):
            return 4000

        def __getitem__(self, index):
            time.sleep(0.01)
            if wrong == "image" and index >= 8:
                raise InputError("Image broken.png cannot be read.")
            return dict(inputs=torch.full((4,), float(index)))

    class Line(BaseModel):
        def __init__(self):
            super().__init__()
            self.layer, self.steps = torch.nn.Linear(4, 1), 0

        def forward(self, inputs, mode):
            self.steps += 1
            if self.steps == 5:
                Path(work, f"began-{os.getpid()}").touch()
            if wrong == "bug" and self.steps == 3:
                raise KeyError("a bug")
            loss = self.layer(torch.stack(list(inputs))).mean() * 1e-6
            return dict(loss=loss * float("nan") if wrong == "nan" and self.steps == 3 else loss)

    os.makedirs(work, exist_ok=True)
    cfg = Config(
        dict(
            train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=50),
            default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
            model=dict(type="Line"),
        )
    )
    prepare_launch(cfg, "pytorch")
    init_cpu_group("pytorch")
    guard_training(cfg)
    runner = with_own_files(Runner)(
        model=Line(),
        work_dir=work,
        launcher="pytorch",
        cfg=cfg,
        train_cfg=cfg.train_cfg,
        default_hooks=cfg.default_hooks,
        train_dataloader=dict(
            dataset=Numbers(),
            batch_size=2,
            sampler=dict(type="DefaultSampler", shuffle=False),
            num_workers=2,
            worker_init_fn=dict(type=partial(begin_worker, None)),
        ),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.1)),
        experiment_name="two_ranks",
    )
    return outcome("train", runner.train)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
