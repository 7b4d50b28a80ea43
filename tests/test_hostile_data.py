"""Data sets whose files lie elsewhere, are none, are damaged or are meant to harm: it is said, and nothing happens."""

import json
import os

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmengine")

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking.dataset_check import check_dataset  # noqa: E402
from tests.test_data_formats import HEIGHT, WIDTH, check, coco, convert, image, put, write_coco, xml, yolo  # noqa: E402

NAMES, LINE = "names: [cat, dog]", "0 .5 .5 .2 .2"


@pytest.mark.parametrize("name", ["../elsewhere/0.jpg", "{root}/elsewhere/0.jpg", "0.jpg"])
def test_an_image_outside_its_folder_is_told(name, tmp_path, capsys):
    name = name.format(root=tmp_path)
    write_coco(tmp_path, "annotations/train.json", "train")
    write_coco(tmp_path, "annotations/val.json", "val")
    image(tmp_path / "elsewhere" / "0.jpg")
    (tmp_path / "train" / "0.jpg").unlink()
    (tmp_path / "train" / "0.jpg").symlink_to(tmp_path / "elsewhere" / "0.jpg")
    content = coco()
    content["images"][0]["file_name"] = name
    (tmp_path / "annotations" / "train.json").write_text(json.dumps(content))
    check([str(tmp_path)])
    assert f"note  1 images lie outside their folder, by a full path, .. or a link: {name}" in capsys.readouterr().out


BOMB = "\n".join([f"a{i}: &a{i} [{', '.join(10 * [f'*a{i - 1}' if i else 'x'])}]" for i in range(9)]) + "\nnames: *a8"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (BOMB, "it has aliases, which may stand for gigabytes"),
        ("names: [cat, dog]\nnc: 7", "has 2 names, and nc is 7"),
        ("names: !!python/object/apply:os.abort []", r"cannot be read as YAML \(line 1\)"),
        ("names: 5", "names no classes"),
    ],
)
def test_a_yaml_that_cannot_be_is_refused(options, words, tmp_path):
    with pytest.raises(InputError, match=words):
        check_dataset(yolo(tmp_path, options, LINE))


def test_what_a_linked_label_holds_is_not_repeated(tmp_path, capsys):
    (tmp_path / "secret").write_text("pass word\n")
    root = yolo(tmp_path / "data", NAMES, LINE)
    for path in (root / "labels" / "train" / "train.txt", root / "data.yaml"):
        kept = path.read_text()
        path.unlink()
        path.symlink_to(tmp_path / "secret")
        assert check([str(root)]) in (1, 2)
        path.unlink()
        path.write_text(kept)
    said = "".join(capsys.readouterr())
    assert "a word that is no number" in said and "cannot be read as YAML" in said and "pass" not in said


@pytest.mark.parametrize("place", ["images/train/train.jpg", "labels/train/train.txt", "data.yaml"])
def test_a_pipe_in_a_data_set_is_told(place, tmp_path, capsys):
    root = yolo(tmp_path, NAMES, LINE)
    (root / place).unlink()
    os.mkfifo(root / place)
    assert check([str(root)]) in (1, 2)
    assert "is not a file: a pipe" in "".join(capsys.readouterr())


@pytest.mark.parametrize("is_pipe", [True, False])
def test_a_pipe_or_a_folder_among_cocos_images_is_told(is_pipe, tmp_path, capsys):
    write_coco(tmp_path, "annotations/train.json", "train")
    write_coco(tmp_path, "annotations/val.json", "val")
    (tmp_path / "train" / "0.jpg").unlink()
    (os.mkfifo if is_pipe else os.mkdir)(tmp_path / "train" / "0.jpg")
    assert check([str(tmp_path)]) == 1 and convert([str(tmp_path), str(tmp_path / "out")]) == 2
    assert [said.count("0.jpg is not a file") for said in capsys.readouterr()] == [1, 1]


def test_a_photograph_with_a_damaged_middle_is_told(tmp_path, capsys):
    write_coco(tmp_path, "annotations/train.json", "train")
    write_coco(tmp_path, "annotations/val.json", "val")
    path = tmp_path / "train" / "0.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)).save(path)
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(200)
    path.write_bytes(content)
    Image.open(path).load()  # Pillow is content with it
    check([str(tmp_path)])
    assert "note  1 images are damaged, and read with made-up colours: 0.jpg (Corrupt JPEG" in capsys.readouterr().out


def test_an_image_of_both_splits_is_told(tmp_path, capsys):
    root = yolo(tmp_path, NAMES, LINE)
    put(root, {"images/val/train.jpg": None})
    check([str(root)])
    assert "1 images are in the training and in the validation split, by name and content: train.jpg" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize("value", ["nan", "inf", "secret"])
def test_a_corner_that_is_no_number_is_told_with_its_file(value, tmp_path, capsys):
    corners = xml(corners=(value, 9, 40, 24))
    put(tmp_path, {"JPEGImages/a.jpg": None, "JPEGImages/b.jpg": None})
    put(tmp_path, {"Annotations/a.xml": corners, "Annotations/b.xml": xml()})
    assert convert([str(tmp_path), str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert "annotations cannot be read: a.xml (" in said and "number" in said and "secret" not in said
