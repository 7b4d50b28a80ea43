"""Small data sets that were answered wrongly once: what the check says of each, and the converter likewise."""

import importlib

import pytest

pytest.importorskip("mmengine")

check = importlib.import_module("tools.check_dataset").main
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


@pytest.mark.parametrize("case", CASES)
def test_a_case_that_cannot_be_trained_on_is_refused_alike(case, shared_data, tmp_path, capsys):
    root = str(shared_data / "cases" / case)
    assert check([root]) == 1
    faults = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert any(CASES[case] in line for line in faults), faults
    if case != "coco_all_tiny":  # small images convert: an option of training keeps them
        assert convert([root, str(tmp_path / "out")]) == 2
        assert CASES[case] in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.mark.parametrize("case", SOUND)
def test_a_case_with_one_right_reading_passes_and_converts(case, shared_data, tmp_path, capsys):
    root = str(shared_data / "cases" / case)
    assert check([root]) == 0
    assert SOUND[case] in capsys.readouterr().out
    assert convert([root, str(tmp_path / "out")]) == 0
    assert check([str(tmp_path / "out")]) == 0


@pytest.mark.parametrize("name", ["bccd", "camvid"])
def test_real_data_sets_are_read_as_they_lie(name, shared_data, capsys):
    assert check([str(shared_data / name), "--quick"]) == 0
    said = capsys.readouterr().out
    counts, classes = {"bccd": ((205, 87), 3), "camvid": ((367, 101), 11)}[name]
    assert f"{classes} classes" in said
    for split, count in zip(("train", "val"), counts, strict=True):
        assert f"{split}: {count} images" in said
