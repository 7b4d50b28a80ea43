"""Every config of the folder builds, takes one training step and one evaluation, at a small size on drawn images."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from small_configs import entries, shrink  # noqa: E402

from maxvit_dense.openmmlab import run  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "configs"
# Classifiers have tests of their own: test_classification_configs.py.
CONFIGS = sorted(p for p in FOLDER.glob("*.py") if "pretrain_" not in p.stem and "finetune_" not in p.stem)
HEADER = ("Recipe:", "Command:", "Result:")
LAYOUTS = dict(mmdet="coco", mmseg="ade/ADEChallengeData2016")  # of the sample data, by a config's default scope


@pytest.fixture(scope="session")
def sample_root(tmp_path_factory):
    """Two training and one validation scene."""
    root = tmp_path_factory.mktemp("configs") / "sample"
    write_sample_data(str(root), train=2, val=1, size=96, seed=0)
    return root


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_trains_one_step_and_evaluates(path, sample_root, tmp_path):
    small = shrink(path)
    small.dump(tmp_path / path.name)
    data_root = sample_root / LAYOUTS[small.default_scope]
    cfg = run.prepare_training(str(tmp_path / path.name), work_dir=str(tmp_path / "work"), data_root=str(data_root))
    runner = run.build_runner(cfg)
    before = {name: p.detach().clone() for name, p in runner.model.named_parameters() if "backbone" in name}
    losses = []
    runner.model.register_forward_hook(
        lambda module, args, kwargs, output: losses.append(output) if kwargs.get("mode") == "loss" else None,
        with_kwargs=True,
    )
    runner.train()

    assert runner.iter == 1
    values = [v for value in losses[0].values() for v in (value if isinstance(value, list) else [value])]
    assert values and all(torch.isfinite(v).all() for v in values)
    still = [name for name, p in runner.model.named_parameters() if name in before and torch.equal(p, before[name])]
    assert still == []
    recorded = runner.message_hub.log_scalars
    assert any(name.startswith("val/") for name in recorded), sorted(recorded)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_parts_of_the_real_size_fit_each_other(path):
    cfg = Config.fromfile(path)
    with torch.device("meta"):
        model = run.build_model(cfg)
    taker = next(part for part in ("neck", "decode_head", "panoptic_head") if part in cfg.model)
    assert list(cfg.model[taker].in_channels) == model.backbone.channels


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_opens_with_its_recipe_command_and_result(path):
    head = path.read_text().split("\n_base_")[0]
    assert [field for field in HEADER if field not in head] == []
    assert path.stem in head or "THIS" in head


def test_1x_and_3x_follow_the_published_recipes():
    one, three = (Config.fromfile(f"configs/maskrcnn_maxvit_t{suffix}_coco.py") for suffix in ("", "_3x"))
    assert (one.train_cfg.max_epochs, three.train_cfg.max_epochs) == (12, 36)
    assert [s.get("milestones") for s in one.param_scheduler] == [None, [8, 11]]
    assert [s.get("milestones") for s in three.param_scheduler] == [None, [27, 33]]
    for cfg in (one, three):
        optimizer = cfg.optim_wrapper.optimizer
        assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", 1e-4, 0.05)
        assert (cfg.auto_scale_lr.base_batch_size, cfg.train_dataloader.batch_size) == (16, 2)
        warm_up = cfg.param_scheduler[0]
        assert (warm_up.start_factor, warm_up.end) == (0.001, 1000)
    sides = sorted({scale[0] for entry in entries(three.train_dataloader) for scale in entry.get("scales", [])})
    assert sides == [400, 480, 500, 512, 544, 576, 600, 608, 640, 672, 704, 736, 768, 800]


def test_sizes_differ_only_in_the_backbone_and_its_widths():
    tiny, base = (Config.fromfile(f"configs/maskrcnn_maxvit_{size}_coco.py").to_dict() for size in "tb")
    for variable in [key for key in tiny if key.startswith("maxvit_")]:  # the table of sizes, beside what is used of it
        del tiny[variable], base[variable]
    assert base["model"]["neck"].pop("in_channels") != tiny["model"]["neck"].pop("in_channels")
    assert base["model"].pop("backbone") != tiny["model"].pop("backbone")
    assert base == tiny
