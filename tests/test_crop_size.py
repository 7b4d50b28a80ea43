"""A segmentor's training that goes from crops to whole images, and is resumed behind the change."""

import importlib
import shutil

import pytest

pytest.importorskip("mmseg")

from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests.small_segmentor import write_config  # noqa: E402

train = importlib.import_module("tools.train").main
STEPS, BEGIN, IMAGES, CROP, WHOLE = 5, 2, 6, (48, 48), (64, 96)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(str(root), train=IMAGES, val=1, size=96, seed=0)
    return root / "ade" / "ADEChallengeData2016"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run of ``STEPS`` steps, the last of them on whole images, with a checkpoint at each and a worker that stays."""
    folder = tmp_path_factory.mktemp("config")
    cfg = Config.fromfile(write_config(folder))
    cfg.train_dataloader.update(batch_size=2, num_workers=1, persistent_workers=True)
    cfg.train_cfg.update(max_iters=STEPS, val_interval=100)
    cfg.default_hooks.checkpoint.update(interval=1, max_keep_ckpts=-1)
    cfg.custom_hooks = [dict(type="CropSizeHook", begin=BEGIN, crop_size=WHOLE)]
    cfg.dump(folder / "crops.py")
    return folder / "crops.py"


@pytest.fixture
def batches(monkeypatch):
    """Size of each batch that the model trains with, and the files of its images."""
    seen = []
    kind = MODELS.get("mmseg.SegDataPreProcessor")

    def forward(self, data, training=False, plain=kind.forward):
        batch = plain(self, data, training)
        if training:
            seen.append((tuple(batch["inputs"].shape[-2:]), [sample.img_path for sample in batch["data_samples"]]))
        return batch

    monkeypatch.setattr(kind, "forward", forward)
    return seen


def test_the_last_steps_are_on_whole_images_resumed_or_not(config, data, batches, tmp_path):
    options = [str(config), "--data-root", str(data), "--work-dir"]
    assert train([*options, str(tmp_path / "through")]) == 0
    through = batches[-STEPS:]  # before them, the rehearsal of a first step
    assert [size for size, _ in through] == [CROP] * BEGIN + [WHOLE] * (STEPS - BEGIN)
    everything = [path for _, paths in through[:3] for path in paths]
    assert len(set(everything)) == len(everything) == IMAGES  # none of the first epoch twice, none left out
    for step in (BEGIN - 1, BEGIN):
        again = tmp_path / f"from_{step}"
        again.mkdir()
        shutil.copy(tmp_path / "through" / f"iter_{step}.pth", again)
        (again / "last_checkpoint").write_text(str(again / f"iter_{step}.pth"))
        batches.clear()
        assert train([*options, str(again), "--resume"]) == 0
        assert batches[step - STEPS :] == through[step:]


@pytest.mark.parametrize("change, message", [("uncropped", "no RandomCrop"), ("epochs", "counts epochs")])
def test_runs_that_cannot_change_are_refused(config, data, tmp_path, change, message):
    cfg = Config.fromfile(config)
    if change == "uncropped":
        pipeline = cfg.train_dataloader.dataset.pipeline
        pipeline[3] = dict(type="Resize", scale=CROP)  # where the crop was
    else:
        cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1)
        cfg.param_scheduler = []
    cfg.dump(tmp_path / "wrong.py")
    cfg = prepare.prepare_training(str(tmp_path / "wrong.py"), data_root=str(data), work_dir=str(tmp_path / "work"))
    with pytest.raises(InputError, match=message):
        prepare.build_runner(cfg).train()
