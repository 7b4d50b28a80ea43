"""Segmentation through tools/train.py and tools/test.py: what training and each way of evaluating leave behind."""

import importlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmseg", reason="needs mmseg (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.openmmlab.engine import launch, prepare  # noqa: E402
from maxvit_dense.sample_data import SEMANTIC_CLASSES, write_sample_data  # noqa: E402
from maxvit_dense.weights.safe_load import read_checkpoint  # noqa: E402
from tests.small_segmentor import write_config  # noqa: E402

train = importlib.import_module("tools.train").main
evaluate = importlib.import_module("tools.test").main
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
FAMILIES = ("upernet", "fpn", "mask2former")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four training and two validation scenes of about 80 pixels, in ADE20K's layout."""
    root = tmp_path_factory.mktemp("data") / "sample"
    write_sample_data(str(root), train=4, val=2, size=80, seed=0)
    return root / "ade" / "ADEChallengeData2016"


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def trained(config, data, tmp_path_factory):
    """The work dir of a finished run of one step: its SyncBN layers ran in one process without a GPU."""
    work_dir = tmp_path_factory.mktemp("trained")
    assert train([str(config), "--data-root", str(data), "--work-dir", str(work_dir)]) == 0
    return work_dir


@pytest.fixture(scope="module")
def weights(trained):
    """The run's weights with a last layer that is sure everywhere: an untrained one's logits are often equal."""
    weights = read_checkpoint(trained / "iter_1.pth")["state_dict"]
    weights["decode_head.conv_seg.weight"] *= 1e4
    weights["decode_head.conv_seg.bias"] += torch.linspace(0, 1, len(SEMANTIC_CLASSES))
    torch.save(dict(state_dict=weights), trained / "sure.pth")
    return trained / "sure.pth"


@pytest.fixture
def options(config, data, weights, tmp_path):
    """Arguments of an evaluation in a work dir of its own."""
    return [str(config), str(weights), "--data-root", str(data), "--work-dir", str(tmp_path / "work")]


def label_maps(options, folder, *extra):
    """What tools/test.py finds in each image: label maps (H, W) by the image's name."""
    assert evaluate([*options, "--out", str(folder / "p.pkl"), *extra]) == 0
    samples = pickle.loads((folder / "p.pkl").read_bytes())
    assert all("seg_logits" not in sample for sample in samples)
    return {Path(sample["img_path"]).name: sample["pred_sem_seg"]["data"][0].numpy() for sample in samples}


def same(first, second):
    """Label maps agree, but for near-ties, which rounding may turn either way."""
    return all((first[name] != second[name]).mean() < 0.001 for name in first | second)


def test_training_evaluates_and_leaves_a_checkpoint(trained):
    log = max(trained.glob("*/*.log")).read_text()
    assert "mIoU: " in log and "Iter(train) [1/1]" in log
    assert (trained / "iter_1.pth").is_file()


def test_metrics_are_printed_and_written(options, data, tmp_path, capsys):
    assert evaluate([*options, "--out", str(tmp_path / "r.json")]) == 0
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[-3:])
    report = json.loads((tmp_path / "r.json").read_text())
    assert set(report["metrics"]) == {"aAcc", "mIoU", "mAcc"}
    assert {name: float(value) for name, value in printed.items()} == pytest.approx(report["metrics"], rel=1e-3)
    assert report["test_time_augmentation"] is False


def test_predictions_have_each_image_s_size_and_the_metric_is_theirs(options, data, tmp_path, capsys):
    found = label_maps(options, tmp_path)
    printed = dict(line.split() for line in capsys.readouterr().out.splitlines()[-3:])
    right = labelled = 0
    for name, labels in found.items():
        truth = np.asarray(Image.open(data / "annotations" / "validation" / name.replace(".jpg", ".png")))
        assert labels.shape == truth.shape
        right += ((labels + 1 == truth) & (truth > 0)).sum()
        labelled += (truth > 0).sum()
    assert len(found) == 2
    assert float(printed["aAcc"]) == pytest.approx(100 * right / labelled, abs=0.01)


def test_pictures_show_the_truth_left_and_what_was_found_right(options, data, tmp_path):
    found = label_maps(options, tmp_path, "--show-dir", str(tmp_path / "pictures"))
    palette = np.array(Config.fromfile(options[0]).test_dataloader.dataset.metainfo.palette)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == set(found)
    for name, labels in found.items():
        image = np.asarray(Image.open(data / "images" / "validation" / name)).astype(float)
        truth = np.asarray(Image.open(data / "annotations" / "validation" / name.replace(".jpg", ".png"))).astype(int)
        picture = np.asarray(Image.open(tmp_path / "pictures" / name)).astype(float)
        height, width = truth.shape
        assert picture.shape == (height, 2 * width, 3)
        # Half the image, half the class's colour, none where nothing is labelled; names cover some of it, JPEG blurs.
        for half, classes in ((picture[:, :width], truth - 1), (picture[:, width:], labels)):
            colours = np.where(classes[..., None] >= 0, palette[classes], 0)
            off = np.abs(half - (image + colours) / 2).max(axis=-1)
            assert np.median(off) < 12


def test_sliding_windows_average_the_model_s_logits(options, tmp_path):
    slid = label_maps(options, tmp_path, "--cfg-options", "model.test_cfg.mode=slide")
    cfg = prepare.prepare_test(options[0], options[1], data_root=options[3], work_dir=str(tmp_path / "work"))
    runner = prepare.build_runner(cfg, suffix="_naive")
    runner.load_or_resume()
    model = runner.model.eval()
    for batch in runner.test_dataloader:
        inputs = model.data_preprocessor(batch)["inputs"]
        _, _, height, width = inputs.shape
        total, count = torch.zeros(1, len(SEMANTIC_CLASSES), height, width), torch.zeros(height, width)
        # Windows of 48, 32 apart; the last of each row and column is moved back to end at the border.
        rows, columns = (sorted({min(at, side - 48) for at in range(0, side, 32)}) for side in (height, width))
        for y in rows:
            for x in columns:
                with torch.no_grad():
                    logits = model.encode_decode(inputs[:, :, y : y + 48, x : x + 48], [dict(img_shape=(48, 48))])
                total[:, :, y : y + 48, x : x + 48] += logits
                count[y : y + 48, x : x + 48] += 1
        (sample,) = batch["data_samples"]
        resized = torch.nn.functional.interpolate(total / count, size=sample.ori_shape, mode="bilinear")
        name = Path(sample.img_path).name
        assert same({name: slid[name]}, {name: resized.argmax(dim=1)[0].numpy()})
    assert len(rows) * len(columns) > 1


def test_a_sliding_window_larger_than_the_image_sees_the_whole(options, tmp_path):
    whole = label_maps(options, tmp_path)
    window = ["model.test_cfg.mode=slide", "model.test_cfg.crop_size=(200,200)", "model.test_cfg.stride=(150,150)"]
    assert same(whole, label_maps(options, tmp_path, "--cfg-options", *window))


def test_identical_views_give_the_result_of_one(options, tmp_path):
    single = label_maps(options, tmp_path)
    cfg = Config.fromfile(options[0])
    load, resize, annotations, pack = cfg.test_dataloader.dataset.pipeline
    steps = [[resize, resize], [dict(type="RandomFlip", prob=0.0)], [annotations], [pack]]
    cfg.tta_pipeline = [load, dict(type="TestTimeAug", transforms=steps)]
    cfg.dump(tmp_path / "views.py")
    assert same(single, label_maps([str(tmp_path / "views.py"), *options[1:]], tmp_path, "--tta"))


def test_views_are_evaluated_drawn_and_reported(options, tmp_path):
    extra = ["--tta", "--show-dir", str(tmp_path / "pictures"), "--out", str(tmp_path / "r.json")]
    assert evaluate([*options, *extra]) == 0
    assert json.loads((tmp_path / "r.json").read_text())["test_time_augmentation"] is True
    sizes = [Image.open(path).size for path in (tmp_path / "pictures").iterdir()]
    assert len(sizes) == 2 and all(width > 1.5 * height for width, height in sizes)


def test_an_evaluation_leaves_the_training_run_s_config_as_it_is(trained):
    before = (trained / "tiny.py").read_text()
    assert evaluate([str(trained / "tiny.py"), str(trained / "iter_1.pth"), "--tta"]) == 0
    assert (trained / "tiny.py").read_text() == before
    assert "TestTimeAug" in (trained / "tiny_test.py").read_text()


def test_several_processes_without_a_gpu_run_batch_norm_for_sync_bn(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(launch, "get_device", lambda: "cpu")
    cfg = Config.fromfile(CONFIGS / "upernet_maxvit_t_ade20k.py")
    assert cfg.model.decode_head.norm_cfg.type == "SyncBN"
    launch.prepare_launch(cfg, "pytorch")
    assert "SyncBN" not in str(cfg.model)
    assert [head.norm_cfg.type for head in (cfg.model.decode_head, cfg.model.auxiliary_head)] == ["BN", "BN"]


# What the recipes fix.


@pytest.mark.parametrize(
    ("family", "batch", "iterations", "lr", "decay", "warm_up", "power"),
    [
        ("upernet", 16, 160_000, 6e-5, 0.01, 1500, 1.0),
        ("fpn", 32, 80_000, 1e-4, 1e-4, 0, 0.9),
        ("mask2former", 16, 160_000, 1e-4, 0.05, 0, 0.9),
    ],
)
def test_schedules_follow_the_published_recipes(family, batch, iterations, lr, decay, warm_up, power):
    cfg = Config.fromfile(CONFIGS / f"{family}_maxvit_t_ade20k.py")
    assert cfg.auto_scale_lr.base_batch_size == 8 * cfg.train_dataloader.batch_size == batch
    assert cfg.train_cfg.max_iters == iterations
    assert (cfg.optim_wrapper.optimizer.lr, cfg.optim_wrapper.optimizer.weight_decay) == (lr, decay)
    *before, poly = cfg.param_scheduler
    assert [(step.start_factor, step.end) for step in before] == ([(1e-6, warm_up)] if warm_up else [])
    assert (poly.power, poly.eta_min, poly.begin, poly.end) == (power, 0.0, warm_up, iterations)
    assert all(step.by_epoch is False for step in cfg.param_scheduler)


@pytest.mark.parametrize("family", FAMILIES)
def test_crops_and_windows_have_the_published_sizes(family):
    cfg = Config.fromfile(CONFIGS / f"{family}_maxvit_t_ade20k.py")
    (crop,) = [step for step in cfg.train_dataloader.dataset.pipeline if step.type == "RandomCrop"]
    assert (crop.crop_size, crop.cat_max_ratio) == ((512, 512), 0.75)
    assert cfg.model.data_preprocessor.size == (512, 512)
    assert cfg.model.test_cfg == dict(mode="whole", crop_size=(512, 512), stride=(341, 341))
    assert cfg.test_dataloader.dataset.pipeline[1].scale == (2048, 512)


def test_the_sample_classes_of_the_demos_are_those_drawn():
    for path in (CONFIGS / "demo").glob("*.py"):
        cfg = Config.fromfile(path)
        if cfg.default_scope == "mmseg":
            assert cfg.train_dataloader.dataset.metainfo.classes == SEMANTIC_CLASSES
            assert cfg.model.decode_head.num_classes == len(SEMANTIC_CLASSES)
