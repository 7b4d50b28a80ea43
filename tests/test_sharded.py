"""Training in shards is training: losses, checkpoints and what reads them are those of one process."""

import json
from functools import partial

import pytest
import torch

pytest.importorskip("mmengine", reason="needs mmengine (pip install maxvit_dense[openmmlab])")

from mmengine.registry import STRATEGIES  # noqa: E402

from maxvit_dense.export.sources import read_source  # noqa: E402
from maxvit_dense.export.write import identify  # noqa: E402
from maxvit_dense.openmmlab import sharded  # noqa: E402, F401  registers the strategy
from tests.processes import run_processes  # noqa: E402

pytestmark = pytest.mark.skipif(torch.__version__ < "2.8", reason="needs PyTorch 2.8, whose FSDP2 knows CPUs")

MODEL = dict(
    type="ImageClassifier",
    network=dict(model_name="maxvit_mini", window_size=4, num_classes=8),
    data_preprocessor=dict(type="ImageBatch", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    norm_eval=True,  # or each process would normalise by its own images
)
OPTIMIZER = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-3, weight_decay=0.05, fused=True),
    clip_grad=dict(max_norm=0.1),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(norm_decay_mult=0.0),
)


def train(folder, name, start=None, kind="ShardedStrategy", **model) -> None:
    """Three steps of 4 images shared out to the processes; losses of each, and a checkpoint, in ``folder``."""
    torch.distributed.init_process_group("gloo")
    environment = dict(launcher="pytorch", randomness=dict(seed=1))
    strategy = STRATEGIES.build(dict(type=kind, work_dir=str(folder / "work"), env_kwargs=environment))
    strategy.prepare(dict(MODEL, **model), optim_wrapper=OPTIMIZER)
    if start:
        strategy.resume(str(folder / start))
    generator, rank, count = torch.Generator().manual_seed(0), strategy.rank, strategy.world_size
    losses = []
    for _ in range(3):
        images = torch.randint(0, 256, (4, 3, 64, 64), generator=generator, dtype=torch.uint8)
        batch = dict(inputs=images[rank::count], label=torch.arange(4)[rank::count])
        strategy.model.train()
        losses.append(strategy.model.train_step(batch, strategy.optim_wrapper)["loss"].item())
    strategy.save_checkpoint(str(folder / f"{name}.pth"), extra_ckpt=dict(meta=dict(iter=3)))
    (folder / f"{name}.{rank}.json").write_text(json.dumps(losses))


def losses(folder, name: str, count: int) -> torch.Tensor:
    """Of the three steps: the mean over the processes, which have equally many images."""
    return torch.tensor([json.loads((folder / f"{name}.{rank}.json").read_text()) for rank in range(count)]).mean(0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three steps in one process, and in two with shards, which recompute too."""
    folder = tmp_path_factory.mktemp("sharded")
    assert run_processes(partial(train, folder, "one", kind="SingleDeviceStrategy"), 1) == [0]
    assert run_processes(partial(train, folder, "two", with_cp="cheap"), 2) == [0, 0]
    return folder


def test_two_processes_have_the_losses_of_one(trained):
    torch.testing.assert_close(losses(trained, "two", 2), losses(trained, "one", 1), rtol=1e-5, atol=1e-6)


def test_a_checkpoint_is_that_of_one_process(trained):
    whole, found = (torch.load(trained / f"{name}.pth", weights_only=True) for name in ("one", "two"))
    for key in ("state_dict", "optimizer"):
        torch.testing.assert_close(found[key], whole[key], rtol=1e-3, atol=1e-5)
    assert identify(read_source(str(trained / "two.pth")).weights).variant == "maxvit_mini"


def test_training_goes_on_from_it_on_any_number_of_processes(trained):
    assert run_processes(partial(train, trained, "plain", "two.pth", "SingleDeviceStrategy"), 1) == [0]
    for count in (1, 2):
        assert run_processes(partial(train, trained, f"on {count}", "two.pth"), count) == [0] * count
        found = losses(trained, f"on {count}", count)
        torch.testing.assert_close(found, losses(trained, "plain", 1), rtol=1e-3, atol=0)
