"""Folders of images and masks under the names that people have them under, and what the values mean."""

import importlib
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmengine")

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking.dataset_check import check_dataset  # noqa: E402
from maxvit_dense.openmmlab.data.choice import Choice  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.mask_files import pair_files, read_labels  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.mask_folders import MaskFolder, find_mask_folder, voc_lists  # noqa: E402

convert = importlib.import_module("tools.convert_dataset").main

LAYOUTS = {  # image and mask of a split
    "images and masks": ("images/{0}/a.jpg", "masks/{0}/a.png"),
    "mmsegmentation": ("img_dir/{0}/a.jpg", "ann_dir/{0}/a.png"),
    "CamVid": ("{0}/a.jpg", "{0}annot/a.png"),
    "labels beside": ("{0}/a.png", "{0}_labels/a.png"),
    "Cityscapes": ("leftImg8bit/{0}/aachen/a_leftImg8bit.png", "gtFine/{0}/aachen/a_gtFine_labelIds.png"),
    "VOC": ("JPEGImages/{0}.jpg", "SegmentationClass/{0}.png"),
}


def write(root, layout, values, splits=("train", "val")):
    for split in splits:
        image, mask = (root / form.format(split) for form in LAYOUTS[layout])
        for path in (image, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (len(values), 40), "white").resize((40, 40)).save(image)
        labels = np.repeat(np.array(values, np.uint8), 40 // len(values))
        Image.fromarray(np.tile(labels, (40, 1))).resize((40, 40), Image.Resampling.NEAREST).save(mask)
        if layout == "VOC":
            lists = root / "ImageSets" / "Segmentation"
            lists.mkdir(parents=True, exist_ok=True)
            (lists / f"{split}.txt").write_text(f"{split}\n")
        if layout == "Cityscapes":  # what lies beside the labels
            Image.new("RGBA", (40, 40)).save(mask.with_name("a_gtFine_color.png"))
    return root


@pytest.mark.parametrize(
    ("layout", "values", "classes"),
    [
        ("images and masks", (0, 1), ["value 0", "value 1"]),
        ("mmsegmentation", (0, 1), ["value 0", "value 1"]),
        ("CamVid", (0, 10, 11), ["sky", "bicyclist"]),
        ("labels beside", (0, 4), ["value 0", "value 4"]),
        ("Cityscapes", (7, 33, 0), ["road", "bicycle"]),
        ("VOC", (0, 20, 255), ["background", "tvmonitor"]),
    ],
)
def test_each_layout_is_recognised_by_its_folders(layout, values, classes, tmp_path):
    report = check_dataset(write(tmp_path, layout, values))
    assert [split.name for split in report.splits] == ["train", "val"]
    assert [len(split.samples) for split in report.splits] == [1, 1]
    assert not report.fails, report.splits[0].faults
    seen = [name for index, name in enumerate(report.classes) if report.splits[0].histogram[index]]
    assert seen == classes


def test_a_value_outside_the_list_is_refused_unless_it_is_void(tmp_path):
    root = write(tmp_path, "images and masks", (0, 1, 11))
    (root / "classes.txt").write_text("sky\nroad\n")
    (fault,) = [fault for fault in check_dataset(root).splits[0].faults if fault.fatal]
    assert fault.kind == "label value" and "--void 11" in str(fault)
    assert not check_dataset(root, Choice(void=[11])).fails
    (root / "classes.json").write_text(json.dumps({"0": "sky", "1": "road", "11": None}))
    assert not check_dataset(root).fails


def test_a_void_value_has_no_name(tmp_path):
    (tmp_path / "classes.txt").write_text("sky\nroad\n")
    with pytest.raises(InputError, match="void value 1 is class 'road'"):
        read_labels(MaskFolder(tmp_path, "images and masks", "masks", {}), void=[1])


@pytest.mark.parametrize(
    ("masks", "values", "names", "meant"),
    [
        ("masks", (0, 255), ["background", "object"], {"0": "background", "255": "object"}),
        ("annotations", (0, 1, 2), ["background", "road", "car"], {"0": "background", "1": "road", "2": "car"}),
    ],
)
def test_values_that_mean_something_else_are_told(masks, values, names, meant, tmp_path):
    root = write(tmp_path, "images and masks", values)
    (root / "masks").rename(root / masks)
    (root / "classes.txt").write_text("\n".join(names))
    (fault,) = [fault for fault in check_dataset(root).splits[0].faults if fault.fatal]
    assert fault.kind == "misread value" and json.dumps(meant) in str(fault)
    (root / "classes.json").write_text(json.dumps(meant))
    assert not check_dataset(root).fails


def test_a_class_that_is_only_rare_is_no_mistake(tmp_path):
    root = write(tmp_path, "images and masks", (0, 1, 3))
    (root / "masks").rename(root / "annotations")
    (root / "classes.txt").write_text("road\ncar\nbus\ntram")
    assert not check_dataset(root).fails


def test_a_list_takes_names_with_and_without_suffix_and_misses_what_is_not_there(tmp_path):
    root = write(tmp_path, "VOC", (0, 1))
    (tmp_path / "list.txt").write_text("train.jpg\nval\ngone\n")
    pairs = pair_files(root / "JPEGImages", root / "SegmentationClass", listed=tmp_path / "list.txt")
    assert list(pairs.images) == ["train", "val", "gone"] and list(pairs.masks) == ["train", "val"]


def test_a_split_that_is_missing_is_said(tmp_path):
    folder = find_mask_folder(write(tmp_path, "CamVid", (0, 1), splits=("train",)))
    with pytest.raises(InputError, match="only train of the splits"):
        folder.split("val")


@pytest.mark.parametrize(
    ("there", "train", "val"),
    [
        (("train", "val", "test"), "train", "val"),
        (("trainval", "test"), "trainval", "test"),
        (("train", "test"), "train", None),
    ],
)
def test_test_images_are_never_trained_on(there, train, val, tmp_path):
    for name in there:
        (tmp_path / f"{name}.txt").write_text("a\n")
    found = voc_lists(tmp_path)
    assert (found["train"].stem, found["val"] and found["val"].stem) == (train, val)


def test_camvid_s_masks_load_with_11_ignored(tmp_path):
    pytest.importorskip("mmseg")
    from maxvit_dense.openmmlab.data.mask_dataset import MaskFolderDataset

    root = write(tmp_path, "CamVid", (0, 10, 11))
    data = MaskFolderDataset(
        values=range(11),
        void=[11],
        data_root=str(root),
        data_prefix=dict(img_path="train", seg_map_path="trainannot"),
        pipeline=[dict(type="LoadImageFromFile"), dict(type="mmseg.LoadAnnotations")],
    )
    assert sorted(set(data[0]["gt_seg_map"].ravel().tolist())) == [0, 10, 255]


def cvat(root, colours=((0, 0, 0), (128, 64, 128), (0, 0, 142)), names=("background", "road", "car")):
    """CVAT's export of five images, whose masks have a stripe of each colour."""
    stripes = np.array(colours, np.uint8).repeat(16, 0)[None].repeat(40, 0)
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for index in range(5):
        Image.new("RGB", (48, 40), "white").save(root / "JPEGImages" / f"{index}.jpg")
        Image.fromarray(stripes).save(root / "SegmentationClass" / f"{index}.png")
    (root / "ImageSets/Segmentation/default.txt").write_text("\n".join(map(str, range(5))))
    lines = [f"{name}:{','.join(map(str, rgb))}::" for name, rgb in zip(names, colours[: len(names)], strict=True)]
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\n" + "\n".join(lines) + "\n")
    return root


def test_cvat_s_coloured_masks_are_converted(tmp_path, capsys):
    root = cvat(tmp_path / "in")
    kinds = {fault.kind for fault in check_dataset(root).splits[0].faults if fault.fatal}
    assert kinds == {"colour mask", "absent split"}
    assert convert([str(root), str(tmp_path / "out")]) == 0
    report = check_dataset(tmp_path / "out")
    assert not report.fails and report.classes == ["background", "road", "car"]
    assert [len(split.samples) for split in report.splits] == [4, 1]
    mask = np.asarray(Image.open(next((tmp_path / "out/masks/train").iterdir())))
    assert mask.shape == (40, 48) and mask[0, ::16].tolist() == [0, 1, 2]


def test_a_colour_without_a_name_is_told(tmp_path, capsys):
    root = cvat(tmp_path / "in", names=("background", "road"))
    assert convert([str(root), str(tmp_path / "out")]) == 2
    assert "colour 0,0,142 is not in labelmap.txt" in capsys.readouterr().err
