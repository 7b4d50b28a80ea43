"""Sharded training by FSDP2 over gloo, layer by layer and block by block, gives the gradients of one process."""

import copy
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(torch.__version__ < "2.8", reason="needs PyTorch 2.8, whose FSDP2 knows CPUs")
@pytest.mark.parametrize("parts", ["layers", "blocks"])
def test_two_processes_give_the_gradients_of_one(parts):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", __file__, parts]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.count("equal gradients") == 2


def train_sharded(parts: str) -> None:
    """One step of a network whose parts are sharded over the processes, beside the same step on one."""
    import timm
    from torch.distributed.fsdp import fully_shard

    import maxvit_dense  # noqa: F401  registers the timm names

    torch.distributed.init_process_group("gloo")
    torch.manual_seed(0)
    network = timm.create_model("maxvit_mini", num_classes=3).train()
    whole = copy.deepcopy(network)
    mesh = torch.distributed.init_device_mesh("cpu", (2,))
    layers = [m for m in network.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    blocks = [block for stage in network.stages for block in stage.blocks]
    for part in layers if parts == "layers" else blocks:
        fully_shard(part, mesh=mesh)
    fully_shard(network, mesh=mesh)
    x = torch.randn(2, 3, 64, 64)
    network(x).square().sum().backward()
    whole(x).square().sum().backward()
    for (name, found), expected in zip(network.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(found.grad.full_tensor(), expected.grad, rtol=1e-4, atol=1e-5, msg=name)
    print("equal gradients", flush=True)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    train_sharded(sys.argv[1])
