"""Settings and data of ImageNet training that cannot work: refused with their reason, images left out if asked."""

import importlib
import re

import numpy as np
import pytest
import timm
import torch
from PIL import Image

pytest.importorskip("mmdet", reason="tools/ need mmdet (pip install maxvit_dense[openmmlab])")

from tests.class_folders import CLASSES, write_class_tars, write_folders, write_shards, write_tars  # noqa: E402
from tests.commands import log_of, refused  # noqa: E402
from tests.pretraining import write_config  # noqa: E402

train = importlib.import_module("tools.train").main
check = importlib.import_module("tools.check_dataset").main
evaluate = importlib.import_module("tools.test").main


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("configs"))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "images")


def empty_class(root):
    (root / "train" / "dog").mkdir()


def one_class(root):
    for split in ("train", "val"):
        for name in CLASSES[1:]:
            (root / split / name).rename(root / f"{split}-{name}")


def class_of_one_split(root):
    (root / "val" / "cat").rename(root / "val" / "cow")


def stray_image(root):
    (root / "train" / "ape" / "0.png").rename(root / "train" / "0.png")


def nested_class(root):
    (root / "train" / "cat").rename(root / "train" / "ape" / "cat")


def flat_validation(root):
    for path in list((root / "val").glob("*/*")):
        path.rename(root / "val" / f"{path.parent.name}{path.name}")
    for name in CLASSES:
        (root / "val" / name).rmdir()


def deep_image(root):
    Image.fromarray(np.zeros((32, 40), np.uint16)).save(root / "train" / "bee" / "0.png")


def no_training_images(root):
    (root / "train").rename(root / "pictures")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (empty_class, r"train cannot be used:\n.*1 class folders without images: dog"),
        (one_class, "fewer classes than two, .*: ape"),
        (class_of_one_split, r"differ: .*val lacks 1 \(cat\); .*train lacks 1 \(cow\)"),
        (stray_image, "1 images beside the class folders: 0.png"),
        (nested_class, "1 folders of images below a class folder, .*: ape/cat"),
        (flat_validation, "6 images beside the class folders"),
        (deep_image, "1 images of more than 8 bits a channel"),
        (no_training_images, "has no train images. Lay them out as"),
    ],
)
def test_data_that_cannot_be_trained_on_is_refused(options, spoil, message, capsys, tmp_path):
    root = write_folders(tmp_path / "copy")
    spoil(root)
    options[2] = str(root)
    said = refused(train, options, capsys, tmp_path)
    assert re.search(message, said), said
    assert check([str(root)]) == 1


@pytest.mark.parametrize("write", [write_tars, write_class_tars, write_shards])
@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_damaged_tar_file_is_refused(options, write, keep, capsys, tmp_path):
    options[2] = str(write(tmp_path / "tars"))
    archive = max(path for path in (tmp_path / "tars").rglob("*.tar") if "train" in f"{path.parent.name}/{path.name}")
    content = archive.read_bytes()
    archive.write_bytes(content[: int(len(content) * keep) + 100] + (b"" if keep else b"no tar" * 200))
    assert "is cut off or no tar file" in refused(train, options, capsys, tmp_path)


def test_a_layer_decay_outside_its_range_is_told(options, capsys):
    assert train([*options, "--cfg-options", "optim_wrapper.paramwise_cfg.layer_decay_rate=2"]) == 2
    assert "layer_decay_rate=2: give a factor above 0 and up to 1" in capsys.readouterr().err


def test_images_none_of_which_can_be_read_are_told(options, capsys, tmp_path):
    options[2] = str(write_folders(tmp_path / "copy"))
    for path in (tmp_path / "copy" / "train").rglob("*.png"):
        path.write_text("no image")
    assert train([*options, "--cfg-options", "train_dataloader.dataset.unreadable=skip"]) == 2
    assert "Not one train image of" in capsys.readouterr().err


def test_an_unreadable_image_is_left_out_of_an_evaluation_if_asked(options, capsys, tmp_path):
    root = write_folders(tmp_path / "copy")
    (root / "val" / "bee" / "1.png").write_text("no image")
    weights = timm.create_model("maxvit_mini", num_classes=3).state_dict()
    torch.save(weights, tmp_path / "mini.pth")
    arguments = [options[0], str(tmp_path / "mini.pth"), "--data-root", str(root), *options[3:]]
    assert evaluate(arguments) == 2
    assert re.search(r"bee/1\.png cannot be read as an image", capsys.readouterr().err)
    assert evaluate([*arguments, "--cfg-options", "test_dataloader.dataset.unreadable=skip"]) == 0
    assert "1 images left out so far, which cannot be read" in log_of(tmp_path / "work")
    assert "accuracy/top5" in capsys.readouterr().out


def test_an_unreadable_image_stops_training_unless_it_may_be_skipped(options, tmp_path, capsys):
    root = write_folders(tmp_path / "copy")
    (root / "train" / "bee" / "3.png").write_text("no image")
    options[2] = str(root)
    short = ["--cfg-options", "train_cfg.max_epochs=1", "default_hooks.checkpoint.interval=-1"]
    assert train([*options, *short]) == 2
    assert re.search(r"bee/3\.png cannot be read as an image.*unreadable=skip", capsys.readouterr().err)
    assert train([*options, *short, "train_dataloader.dataset.unreadable=skip"]) == 0
    log = log_of(tmp_path / "work")
    assert log.count("bee/3.png") == 2 and "1 images left out so far, which cannot be read" in log
