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

from maxvit_dense.openmmlab.image_check import read_facts  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402

check = importlib.import_module("tools.check_dataset").main

ORIENTATION = 274


@pytest.fixture(scope="module")
def sample(tmp_path_factory):
    root = tmp_path_factory.mktemp("check") / "sample"
    write_sample_data(str(root), train=4, val=2, size=64, seed=0)
    return root


def first(root, pattern):
    return sorted(root.glob(pattern))[0]


def edit(root, change):
    path = root / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def replace_image(root, image, **options):
    """Put another picture in the place of the first training image, as large as it was unless it says otherwise."""
    image.save(first(root, "train2017/*.jpg"), "JPEG", **options)


def deep_image(root):
    path = first(root, "train2017/*.jpg")
    values = np.full(Image.open(path).size[::-1], 4095, np.uint16)
    Image.fromarray(values).save(path, "PNG")


def rotated(root):
    """Annotated as it lies in the file; training reads it turned."""
    path = first(root, "train2017/*.jpg")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    with Image.open(path) as opened:
        image = opened.convert("RGB").resize((60, 40))
    image.save(path, exif=exif)
    edit(root, lambda c: c["images"][0].update(width=60, height=40))


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def edit_mask(root, change):
    path = first(root, "ADEChallengeData2016/annotations/training/*.png")
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


def twice(content):
    content["images"][1]["file_name"] = content["images"][0]["file_name"]


FAULTS = {
    "broken image": ("coco", lambda r: cut(first(r, "train2017/*.jpg")), "1 images cannot be read: 0000"),
    "missing image": ("coco", lambda r: first(r, "train2017/*.jpg").unlink(), "1 of 4 images do not exist"),
    "box outside": ("coco", lambda r: edit(r, box_outside), r"1 boxes reach outside .*\[50, 50, 500, 500\]"),
    "class twice": ("coco", lambda r: edit(r, lambda c: c["categories"][1].update(name="circle")), "twice: circle"),
    "duplicate name": ("coco", lambda r: edit(r, twice), "images of the same name"),
    "16 bits": ("coco", deep_image, "1 images of more than 8 bits a channel"),
    "turned": ("coco", rotated, r"annotated 60x40, read 40x60, upright by its EXIF"),
    "one pixel": ("coco", lambda r: replace_image(r, Image.new("RGB", (1, 50))), r"side under 2 .*\(1x50\)"),
    "20,000 pixels": ("coco", lambda r: replace_image(r, Image.new("RGB", (20000, 9))), r"over 19999 .*\(20000x9\)"),
    "annotated size": ("coco", lambda r: edit(r, lambda c: c["images"][0].update(width=7)), r"annotated 7x\d+, read"),
    "empty split": ("coco", lambda r: edit(r, lambda c: c.update(images=[])), "lists no images"),
    "broken JSON": ("coco", lambda r: cut(r / "annotations/instances_train2017.json"), "broken JSON"),
    "label value": ("ade", lambda r: edit_mask(r, set_value(99)), r"outside the class list: .*\(99\)"),
    "mask size": ("ade", lambda r: edit_mask(r, lambda v: v[:-3]), "masks are of another size than their image"),
    "colour mask": ("ade", lambda r: edit_mask(r, lambda v: np.dstack([v] * 3)), r"not labels: .*\(mode RGB\)"),
    "missing mask": ("ade", lambda r: first(r, "*/annotations/training/*").unlink(), "1 images have no mask"),
    "empty class": (
        "imagenet",
        lambda r: [path.unlink() for path in (r / "train" / "ring").iterdir()],
        "class folders without images: ring",
    ),
    "class folders": ("imagenet", lambda r: shutil.rmtree(r / "val" / "ring"), "class folders of one split only: ring"),
}


@pytest.mark.parametrize("layout", ["coco", "ade", "imagenet"])
def test_a_clean_set_passes_with_its_counts_and_a_sheet(sample, layout, tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert check([str(sample / layout), "--sheet", str(sheet), "--samples", "2"]) == 0
    said = capsys.readouterr().out
    assert "FAULT" not in said and "fit to train on" in said and "4 images drawn" in said
    if layout == "coco":
        content = json.loads((sample / "coco/annotations/instances_train2017.json").read_text())
        assert f"train2017: 4 images, {len(content['annotations'])} boxes" in said
        rings = sum(a["category_id"] == 5 for a in content["annotations"])
        assert re.search(rf"ring +{rings}\b", said)
    pixels = np.asarray(Image.open(sheet))
    assert pixels.shape == (252, 990, 3) and np.ptp(pixels[6:246, 6:246]) > 100


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(sample, fault, tmp_path, capsys):
    layout, plant, message = FAULTS[fault]
    root = Path(shutil.copytree(sample / layout, tmp_path / "copy"))
    plant(root)
    assert check([str(root), "--sheet", str(tmp_path / "sheet.png")]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "FAULT" in line]
    assert any(re.search(message, line) for line in lines), lines


def test_an_empty_mask_and_odd_colours_are_noted_only(sample, tmp_path, capsys):
    root = Path(shutil.copytree(sample, tmp_path / "copy"))
    edit_mask(root / "ade", np.zeros_like)
    assert check([str(root / "ade")]) == 0
    assert "note  1 masks without any labelled pixel" in capsys.readouterr().out
    with Image.open(first(root / "coco", "train2017/*.jpg")) as opened:
        image = opened.convert("CMYK")
    replace_image(root / "coco", image)
    assert check([str(root / "coco")]) == 0
    assert "note  1 CMYK images" in capsys.readouterr().out


def test_a_voc_and_a_yolo_folder_are_recognised(sample, tmp_path, capsys):
    voc, yolo = tmp_path / "voc", tmp_path / "yolo"
    for folder in (voc / "Annotations", voc / "JPEGImages", yolo / "images/train", yolo / "labels/train"):
        folder.mkdir(parents=True)
    for path in sorted((sample / "coco/train2017").iterdir()):
        shutil.copy(path, voc / "JPEGImages")
        shutil.copy(path, yolo / "images/train")
        corners = "<xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax>"
        text = f"<a><object><name>cat</name><bndbox>{corners}</bndbox></object></a>"
        (voc / "Annotations" / f"{path.stem}.xml").write_text(text)
        (yolo / "labels/train" / f"{path.stem}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    (yolo / "classes.txt").write_text("cat\n")
    for root, name in ((voc, "VOC"), (yolo, "YOLO")):
        assert check([str(root)]) == 0
        assert f"layout: {name}, 1 classes" in capsys.readouterr().out
    first(voc, "Annotations/*").write_text(text.replace(">9<", ">999<"))
    first(yolo, "labels/train/*").write_text("3 0.5 0.5 0.2 0.2\n")
    for root, message in ((voc, "boxes reach outside"), (yolo, "of a class outside the class list")):
        assert check([str(root)]) == 1
        assert message in capsys.readouterr().out


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
