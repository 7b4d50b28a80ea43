"""Small data sets that were answered wrongly once: what the check says of each, and the converter likewise."""

import importlib
import json

import pytest

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")

from mmengine.config import Config, ConfigDict  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.configure import configure_data  # noqa: E402
from tests import small_detector, small_segmentor  # noqa: E402

check = importlib.import_module("tools.check_dataset").main
train = importlib.import_module("tools.train").main
convert = importlib.import_module("tools.convert_dataset").main

CASES = {  # what is wrong with it, or a note; "" of one without either
    "annotations_with_background_0": '{"0": "background", "1": "road", "2": "car"}',
    "coco_all_crowd": "are crowds",
    "coco_all_tiny": "leaves nothing to train on",
    "coco_flat_polygon": "one list of numbers",
    "coco_rle_of_other_size": "of another size than their image",
    "coco_two_point_polygon": "fewer than three points",
    "masks_0_and_255_two_names": '{"0": "background", "255": "object"}',
    "masks_void_is_11": "--void 11",
}
SOUND = {
    "coco_area_zero": "without an area",
    "coco_backslashes": "backslashes",
    "coco_boxes_only": "",
    "coco_roboflow": "",
    "coco_sound": "",
    "coco_without_iscrowd": "without iscrowd",
    "voc_list_with_suffix": "",
    "voc_trainval_and_test": "",
    "yolo_names_with_gaps": "",
    "yolo_pose": "",
}


@pytest.fixture(scope="module")
def configured(tmp_path_factory):
    """Fits a config of boxes or of masks to a case, as training does."""
    kinds = dict(boxes=small_detector, masks=small_segmentor)
    paths = {kind: module.write_config(tmp_path_factory.mktemp(kind)) for kind, module in kinds.items()}

    def configure(root):
        cfg = Config.fromfile(paths["boxes" if root.name.startswith("coco") else "masks"])
        if root.name in ("coco", "coco_boxes_only"):  # the first is what VOC and YOLO are converted to
            cfg.model = ConfigDict(type="RetinaNet", bbox_head=dict(num_classes=6))
        configure_data(cfg, ("train", "val"), data_root=str(root))

    return configure


@pytest.mark.parametrize("case", CASES)
def test_a_case_that_cannot_be_trained_on_is_refused_alike(case, shared_data, configured, tmp_path, capsys):
    root = str(shared_data / "cases" / case)
    with pytest.raises(InputError) as refusal:
        configured(shared_data / "cases" / case)
    assert CASES[case] in str(refusal.value)
    assert check([root]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert any(CASES[case] in line for line in faults), faults
    if case != "coco_all_tiny":  # small images convert: an option of training keeps them
        assert convert([root, str(tmp_path / "out")]) == 2
        assert CASES[case] in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", SOUND)
def test_a_case_with_one_right_reading_passes_and_converts(case, shared_data, configured, tmp_path, capsys):
    root = str(shared_data / "cases" / case)
    assert check([root]) == 0
    assert SOUND[case] in capsys.readouterr().out
    assert convert([root, str(tmp_path / "coco")]) == 0
    assert check([str(tmp_path / "coco")]) == 0
    configured(shared_data / "cases" / case if case.startswith("coco") else tmp_path / "coco")


@pytest.mark.parametrize("name", ["bccd", "camvid"])
def test_real_data_sets_are_read_as_they_lie(name, shared_data, capsys):
    assert check([str(shared_data / name), "--quick"]) == 0
    said = capsys.readouterr().out
    counts, classes = {"bccd": ((205, 87), 3), "camvid": ((367, 101), 11)}[name]
    assert f"{classes} classes" in said
    for split, count in zip(("train", "val"), counts, strict=True):
        assert f"{split}: {count} images" in said


SHORT = [
    *("train_dataloader.num_workers=0", "train_dataloader.persistent_workers=False"),
    *("val_dataloader.num_workers=0", "val_dataloader.persistent_workers=False"),
    *("train_dataloader.dataset.indices=4", "val_dataloader.dataset.indices=2"),
]


def trained(config, root, work, *options):
    """The metrics that a short training writes."""
    assert train([config, "--data-root", str(root), "--work-dir", str(work), "--cfg-options", *SHORT, *options]) == 0
    (path,) = work.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    return {key: value for line in lines for key, value in line.items()}


def test_blood_cells_go_from_their_folder_to_a_metric_in_two_commands(shared_data, tmp_path):
    assert convert([str(shared_data / "bccd"), str(tmp_path / "coco")]) == 0
    for split in ("train", "val"):
        content = json.loads((tmp_path / f"coco/annotations/instances_{split}2017.json").read_text())
        listed = (shared_data / f"bccd/ImageSets/Main/{split}.txt").read_text().split()
        assert [image["file_name"] for image in content["images"]] == [f"{name}.jpg" for name in listed]
    short = ("train_cfg.max_epochs=1", "train_cfg.val_interval=1", "model.test_cfg.score_thr=0.0")
    found = trained("demo_retinanet_maxvit_mini_sample", tmp_path / "coco", tmp_path / "work", *short)
    assert "coco/bbox_mAP" in found


def test_street_scenes_go_from_their_folder_to_a_metric_in_two_commands(shared_data, tmp_path):
    assert check([str(shared_data / "camvid"), "--quick"]) == 0
    length = ("train_cfg.max_iters=2", "train_cfg.val_interval=2")
    assert "mIoU" in trained("demo_fpn_maxvit_mini_sample", shared_data / "camvid", tmp_path / "work", *length)
