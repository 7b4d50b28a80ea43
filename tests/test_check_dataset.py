"""tools/check_dataset.py finds planted faults, passes clean sets, and reads images as training does."""

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmdet")

from maxvit_dense.openmmlab.data.image_check import read_facts  # noqa: E402
from maxvit_dense.sample_data import SEMANTIC_CLASSES, write_sample_data  # noqa: E402
from tests.data_folders import write_voc, write_yolo  # noqa: E402
from tests.spoil import ORIENTATION, as_jpeg, blank, cut, deep, edit, first, turned  # noqa: E402

check = importlib.import_module("tools.check_dataset").main

IMAGES = {
    "coco": "train2017/*.jpg",
    "voc": "JPEGImages/*.jpg",
    "yolo": "images/train/*.jpg",
    "masks": "images/train/*.jpg",
    "imagenet": "train/ring/*.jpg",
}
MASKS = "masks/train/*.png"


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    """One folder of each layout; "masks" is ADE20K's data with its plain ground as a class."""
    root = tmp_path_factory.mktemp("check") / "sample"
    write_sample_data(str(root), train=4, val=2, size=64, seed=0)
    write_voc(root / "coco", root / "voc")
    write_yolo(root / "coco", root / "yolo")
    for ade, split in (("training", "train"), ("validation", "val")):
        for theirs, ours in (("images", "images"), ("annotations", "masks")):
            shutil.copytree(root / "ade/ADEChallengeData2016" / theirs / ade, root / "masks" / ours / split)
    (root / "masks" / "classes.txt").write_text("\n".join(("ground", *SEMANTIC_CLASSES)))
    return root


def rotated(root):
    path = first(root, "train2017/*.jpg")
    blank(path, (60, 40))
    turned(path)
    edit(root, lambda c: c["images"][0].update(width=60, height=40))


def edit_mask(root, change):
    path = first(root, MASKS if (root / "masks").is_dir() else "ADEChallengeData2016/annotations/training/*.png")
    with Image.open(path) as opened:
        values = np.array(opened)
    Image.fromarray(change(values)).save(path)


def set_value(value):
    def change(values):
        values[0, 0] = value
        return values

    return change


def box_outside(content):
    content["annotations"][0]["bbox"] = [50, 50, 500, 500]


def all_crowds(content):
    for annotation in content["annotations"]:
        annotation["iscrowd"] = 1


def twice(content):
    content["images"][1]["file_name"] = content["images"][0]["file_name"]


def edit_text(root, pattern, old, new):
    path = first(root, pattern)
    path.write_text(re.sub(old, new, path.read_text(), count=1))


def write_label(root, text):
    first(root, "labels/train/*").write_text(text)


XML = "Annotations/*.xml"
# Beside those of single images, which every layout shares.
FAULTS = {
    "coco": {
        "missing image": (lambda r: first(r, "train2017/*.jpg").unlink(), "1 of 4 images do not exist"),
        "box outside": (lambda r: edit(r, box_outside), r"1 boxes reach outside .*\[50, 50, 500, 500\]"),
        "class twice": (lambda r: edit(r, lambda c: c["categories"][1].update(name="circle")), "twice: circle"),
        "duplicate name": (lambda r: edit(r, twice), "images of the same name"),
        "turned": (rotated, r"annotated 60x40, read 40x60, upright by its EXIF"),
        "image size": (lambda r: edit(r, lambda c: c["images"][0].update(width=7)), r"annotated 7x\d+, read"),
        "empty split": (lambda r: edit(r, lambda c: c.update(images=[])), "lists no images"),
        "broken JSON": (lambda r: cut(r / "annotations/instances_train2017.json"), "broken JSON"),
        "no list": (lambda r: edit(r, lambda c: c.pop("categories")), "has no list categories"),
        "no image id": (
            lambda r: edit(r, lambda c: c["images"][0].pop("id")),
            "broken image entries: entry 0 lacks id",
        ),
        "no category id": (
            lambda r: edit(r, lambda c: c["categories"][0].pop("id")),
            "broken category entries: entry 0 lacks id",
        ),
        "id twice": (lambda r: edit(r, lambda c: c["categories"][1].update(id=1)), "category ids that occur twice: 1"),
        "odd id": (
            lambda r: edit(r, lambda c: c["images"][0].update(id=[])),
            "broken image entries: entry 0 lacks a usable id",
        ),
        "no validation": (lambda r: (r / "annotations/instances_val2017.json").unlink(), "not there: val"),
        "crowds": (lambda r: edit(r, all_crowds), "objects, all that there are, are crowds"),
        "no object": (lambda r: edit(r, lambda c: c.update(annotations=[])), "leaves nothing to train on: of its 0"),
        "dangling": (lambda r: edit(r, lambda c: c["annotations"][0].update(image_id=99)), "that is not listed"),
    },
    "voc": {
        "missing image": (lambda r: first(r, IMAGES["voc"]).unlink(), "listed images do not exist: 0000"),
        "missing annotation": (lambda r: first(r, XML).unlink(), "have no annotation file"),
        "broken XML": (lambda r: cut(first(r, XML)), "annotations cannot be read"),
        "no corner": (lambda r: edit_text(r, XML, "<xmin>.*?</xmin>", ""), "without xmin"),
        "no name": (lambda r: edit_text(r, XML, "<name>.*?</name>", ""), "an object without a name"),
        "box outside": (lambda r: edit_text(r, XML, "<xmax>.*?<", "<xmax>999<"), "boxes reach outside"),
        "image size": (lambda r: edit_text(r, XML, "<width>.*?<", "<width>7<"), r"annotated 7x\d+, read"),
        "empty split": (lambda r: (r / "ImageSets/Main/val.txt").write_text(""), "split without images: val"),
    },
    "yolo": {
        "missing image": (lambda r: first(r, IMAGES["yolo"]).unlink(), "images do not exist"),
        "unknown class": (lambda r: write_label(r, "9 .5 .5 .1 .1"), r"outside the class list: .*\(class 9 of 6\)"),
        "part of a class": (lambda r: write_label(r, "0.5 .5 .5 .1 .1"), r"\(class 0.5 of 6\)"),
        "short line": (lambda r: write_label(r, "0 .5 .5 .1"), "4 numbers, not 5"),
        "no number": (lambda r: write_label(r, "0 .5 .5 .1 x"), "annotations cannot be read: .* line 1"),
        "box outside": (lambda r: write_label(r, "0 .9 .9 .8 .8"), "boxes reach outside"),
        "class twice": (lambda r: (r / "data.yaml").write_text("names: [a, a, b, c, d, e]"), "named twice: a"),
        "duplicate name": (
            lambda r: Image.new("RGB", (9, 9)).save(first(r, IMAGES["yolo"]).with_suffix(".png")),
            "images of the same name",
        ),
    },
    "masks": {
        "label value": (lambda r: edit_mask(r, set_value(11)), r"outside the class list: .*\(11\)"),
        "mask size": (lambda r: edit_mask(r, lambda v: v[:-3]), "masks are of another size than their image"),
        "colour mask": (lambda r: edit_mask(r, lambda v: np.dstack([v] * 3)), r"not labels: .*\(mode RGB\)"),
        "16-bit mask": (lambda r: edit_mask(r, lambda v: v.astype(np.uint16)), r"not labels: .*\(mode I;16\)"),
        "JPEG mask": (lambda r: as_jpeg(first(r, MASKS)), "masks are JPEG files"),
        "broken mask": (lambda r: cut(first(r, MASKS)), "masks cannot be read"),
        "missing mask": (lambda r: first(r, MASKS).unlink(), "1 images have no mask"),
        "missing image": (lambda r: first(r, IMAGES["masks"]).unlink(), "1 masks have no image"),
        "class twice": (lambda r: edit_text(r, "classes.txt", "cross", "ring"), "named twice: ring"),
        "one class": (lambda r: (r / "classes.txt").write_text("thing"), "too few to tell apart: thing"),
        "empty split": (lambda r: [path.unlink() for path in r.glob("*/val/*")], "split without images"),
        "duplicate name": (
            lambda r: Image.new("RGB", (9, 9)).save(first(r, IMAGES["masks"]).with_suffix(".png")),
            "images of the same name",
        ),
    },
    "imagenet": {
        "empty class": (
            lambda r: [path.unlink() for path in (r / "train" / "ring").iterdir()],
            "class folders without images: ring",
        ),
        "nested class": (lambda r: (r / "train/ring").rename(r / "train/star/ring"), "below a class folder.*star/ring"),
        "flat split": (lambda r: first(r, "val/*/*").rename(r / "val" / "0.jpg"), "beside the class folders: 0.jpg"),
        "no validation": (lambda r: shutil.rmtree(r / "val"), "split that training needs is not there: val"),
        "one class": (lambda r: [shutil.rmtree(p) for p in sorted(r.glob("train/*"))[1:]], "fewer classes than two"),
        "class folders": (lambda r: shutil.rmtree(r / "val" / "ring"), "class folders of one split only: ring"),
    },
}
IMAGE_FAULTS = {
    "cut image": (lambda r, p: cut(first(r, p)), "images cannot be read: "),
    "no image": (lambda r, p: first(r, p).write_text("no"), r"images cannot be read: .*no image"),
    "16 bits": (lambda r, p: deep(first(r, p)), "1 images of more than 8 bits a channel"),
    "one pixel": (lambda r, p: blank(first(r, p), (1, 50)), r"side under 2 .*\(1x50\)"),
    "20,000 pixels": (lambda r, p: blank(first(r, p), (20000, 9)), r"over 19999 .*\(20000x9\)"),
}


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("coco", "COCO"),
        ("voc", "VOC"),
        ("yolo", "YOLO"),
        ("ade", "images and masks"),
        ("masks", "images and masks"),
        ("imagenet", "ImageFolder"),
    ],
)
def test_a_clean_set_passes_with_its_layout_counts_and_a_sheet(sample, layout, name, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert check([str(sample / layout), "--sheet", str(sheet), "--samples", "2"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"layout: {name}, ")
    assert "FAULT" not in said and "fit to train on" in said and "4 images drawn" in said
    if layout == "coco":
        content = json.loads((sample / "coco/annotations/instances_train2017.json").read_text())
        assert f"train2017: 4 images, {len(content['annotations'])} boxes" in said
        rings = sum(a["category_id"] == 5 for a in content["annotations"])
        assert re.search(rf"ring +{rings}\b", said)
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (252, 990, 3) and np.ptp(pixels[6:246, 6:246]) > 100


@pytest.mark.parametrize(("layout", "fault"), [(layout, fault) for layout in FAULTS for fault in FAULTS[layout]])
def test_a_planted_fault_is_found(sample, layout, fault, tmp_path, capsys):
    plant, message = FAULTS[layout][fault]
    root = Path(shutil.copytree(sample / layout, tmp_path / "copy"))
    plant(root)
    assert_found(root, message, capsys)


@pytest.mark.parametrize("layout", IMAGES)
@pytest.mark.parametrize("fault", IMAGE_FAULTS)
def test_an_image_that_training_cannot_use_is_found(sample, layout, fault, tmp_path, capsys):
    plant, message = IMAGE_FAULTS[fault]
    root = Path(shutil.copytree(sample / layout, tmp_path / "copy"))
    plant(root, IMAGES[layout])
    assert_found(root, message, capsys)


def assert_found(root, message, capsys):
    assert check([str(root), "--sheet", str(root.parent / "sheet.png"), "--samples", "1"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert any(re.search(message, line) for line in lines), lines


def test_an_empty_mask_and_odd_colours_are_noted_only(sample, tmp_path, capsys):
    root = Path(shutil.copytree(sample, tmp_path / "copy"))
    edit_mask(root / "ade", np.zeros_like)
    assert check([str(root / "ade")]) == 0
    assert "note  1 masks without any labelled pixel" in capsys.readouterr().out
    path = first(root / "coco", "train2017/*.jpg")
    with Image.open(path) as opened:
        opened.convert("CMYK").save(path)
    assert check([str(root / "coco")]) == 0
    assert "note  1 CMYK images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent"], "no folder absent"),
        ([".", "--sheet", "no/dir/s.png"], "no folder for no/dir"),
        ([], "known layouts"),
    ],
)
def test_wrong_usage_is_told(arguments, message, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check(arguments or ["."]) == 2
    assert message in capsys.readouterr().err


# How training reads images: what read_facts says, held against LoadImageFromFile itself.


def picture(mode="RGB"):
    """30 wide, 20 high; red left, blue right, so that a turn shows."""
    values = np.zeros((20, 30, 3), np.uint8)
    values[:, :15], values[:, 15:] = (200, 40, 40), (20, 120, 220)
    return Image.fromarray(values).convert(mode)


def loaded(path):
    """As training gets it, in RGB."""
    transforms = pytest.importorskip("mmcv.transforms")
    return transforms.LoadImageFromFile()(dict(img_path=str(path)))["img"][..., ::-1]


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_photographs_are_read_upright(suffix, orientation, tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    path = tmp_path / f"image.{suffix}"
    picture().save(path, exif=exif)
    facts, image = read_facts(path), loaded(path)
    assert image.shape == (facts.height, facts.width, 3)
    assert facts.stored == (30, 20)
    assert ("rotated image" in facts.kinds) == (orientation > 1)
    red_at_origin = int(image[2, 2, 0]) > 100
    assert red_at_origin == (orientation in (1, 4, 5, 6))


def test_rotated_webp_is_a_fault_because_training_does_not_turn_it(tmp_path):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    picture().save(tmp_path / "image.webp", exif=exif)
    assert loaded(tmp_path / "image.webp").shape == (20, 30, 3)
    assert read_facts(tmp_path / "image.webp").kinds == ("rotated WebP",)


@pytest.mark.parametrize(
    ("mode", "suffix", "kind"),
    [("CMYK", "jpg", "CMYK image"), ("P", "png", "palette image"), ("L", "png", "grey image")],
)
def test_other_colour_modes_are_read_as_they_look(mode, suffix, kind, tmp_path):
    path = tmp_path / f"image.{suffix}"
    image = picture(mode)
    image.save(path)
    assert kind in read_facts(path).kinds
    seen, got = np.asarray(image.convert("RGB"), int), loaded(path).astype(int)
    assert np.abs(seen - got)[:, [5, 25]].max() <= 3


def test_alpha_is_dropped(tmp_path):
    image = picture()
    image.putalpha(0)
    image.save(tmp_path / "image.png")
    assert "transparent image" in read_facts(tmp_path / "image.png").kinds
    assert loaded(tmp_path / "image.png")[0, 0].tolist() == [200, 40, 40]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_of_16_bits_the_highest_8_are_kept(suffix, tmp_path):
    path = tmp_path / f"image.{suffix}"
    Image.fromarray(np.full((20, 30), 4095, np.uint16)).save(path)
    assert "16-bit image" in read_facts(path).kinds
    assert loaded(path).max() == 15
