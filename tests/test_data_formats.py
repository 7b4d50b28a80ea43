"""Data sets as people export them: each format is recognised by what lies there and read into one form."""

import importlib
import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmengine")

from maxvit_dense.openmmlab.data.checking.dataset_check import check_dataset  # noqa: E402
from maxvit_dense.openmmlab.data.formats.find import find_format  # noqa: E402

check = importlib.import_module("tools.check_dataset").main
convert = importlib.import_module("tools.convert_dataset").main

WIDTH, HEIGHT = 64, 48
BOX = [8, 8, 32, 16]
POLYGON = [8, 8, 40, 8, 40, 24, 8, 24]


def image(path, size=(WIDTH, HEIGHT), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, "white").save(path, **options)


def coco(names=("cat", "dog"), count=2, prefix="", **more):
    entry = dict(bbox=BOX, area=512, iscrowd=0, segmentation=[POLYGON])
    return dict(
        images=[dict(id=i, file_name=f"{prefix}{i}.jpg", width=WIDTH, height=HEIGHT) for i in range(count)],
        annotations=[dict(entry, id=i, image_id=i, category_id=i % len(names) + 1, **more) for i in range(count)],
        categories=[dict(id=i, name=name) for i, name in enumerate(names, 1)],
    )


def write_coco(root, file, images, content=None):
    content = content or coco()
    for record in content["images"]:
        image(root / images / record["file_name"].replace("\\", "/"))
    (root / file).parent.mkdir(parents=True, exist_ok=True)
    (root / file).write_text(json.dumps(content))
    return root


def xml(name="cat", corners=(9, 9, 40, 24)):
    box = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True))
    return f"<annotation><object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"


def labelme(name="cat", file="a.jpg", kind="polygon", points=((8, 8), (40, 8), (40, 24), (8, 24))):
    shape = dict(label=name, points=points, shape_type=kind, group_id=None)
    return json.dumps(dict(shapes=[shape], imagePath=file, imageWidth=WIDTH, imageHeight=HEIGHT))


def put(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            image(root / name)
        else:
            (root / name).write_text(text)
    return root


def converted(root, tmp_path, *options):
    """Objects (image, class, box) of each split of a conversion."""
    target = tmp_path / "converted"
    assert convert([str(root), str(target), *options]) == 0
    assert not check_dataset(target).fails
    return read(target)


def read(target):
    found = {}
    for split in ("train", "val"):
        content = json.loads((target / "annotations" / f"instances_{split}2017.json").read_text())
        names = {c["id"]: c["name"] for c in content["categories"]}
        files = {i["id"]: i["file_name"] for i in content["images"]}
        assert all((target / f"{split}2017" / name).is_file() for name in files.values())
        found[split] = [(files[a["image_id"]], names[a["category_id"]], a["bbox"]) for a in content["annotations"]]
    return found


# COCO under any names


@pytest.mark.parametrize(
    ("train", "val", "train_images", "val_images", "prefix"),
    [
        ("train/_annotations.coco.json", "valid/_annotations.coco.json", "train", "valid", ""),
        ("annotations/train.json", "annotations/val.json", "images/train", "images/val", ""),
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json", "train2017", "val2017", ""),
        ("train.json", "validation.json", "images", "images", ""),
        ("train/result.json", "val/result.json", "train", "val", "images/"),
    ],
)
def test_coco_is_found_under_any_names(train, val, train_images, val_images, prefix, tmp_path):
    write_coco(tmp_path, train, train_images, coco(prefix=prefix))
    write_coco(tmp_path, val, val_images, coco(prefix=prefix))
    report = check_dataset(tmp_path)
    assert (report.layout, report.classes) == ("COCO", ["cat", "dog"])
    assert [len(split.samples) for split in report.splits] == [2, 2]
    assert not report.fails, [str(fault) for split in report.splits for fault in split.faults]


def test_a_file_of_all_images_is_divided_by_the_converter(tmp_path):
    write_coco(tmp_path / "in", "annotations/instances_default.json", "images", coco(count=5))
    (fault,) = [f for f in check_dataset(tmp_path / "in").splits[0].faults if f.kind == "absent split"]
    assert "convert-dataset" in str(fault)
    found = converted(tmp_path / "in", tmp_path)
    assert (len(found["train"]), len(found["val"])) == (4, 1)


def test_a_detector_reads_coco_under_any_names_without_a_conversion(tmp_path):
    pytest.importorskip("mmdet")
    from mmengine.config import Config

    from maxvit_dense.openmmlab.data.configure import configure_data

    write_coco(tmp_path, "train/_annotations.coco.json", "train")
    write_coco(tmp_path, "valid/_annotations.coco.json", "valid")
    dataset = dict(
        type="CocoDataset", data_root="data/coco/", pipeline=[], ann_file="a.json", data_prefix=dict(img="a")
    )
    val = dict(dataset=dict(dataset, test_mode=True))
    evaluator = dict(type="CocoMetric", ann_file="data/coco/a.json")
    cfg = Config(
        dict(
            default_scope="mmdet",
            model=dict(bbox_head=dict(num_classes=80)),
            train_dataloader=dict(dataset=dataset),
            val_dataloader=val,
            val_evaluator=evaluator,
        )
    )
    configure_data(cfg, ("train", "val"), data_root=str(tmp_path))
    assert cfg.train_dataloader.dataset.ann_file == "train/_annotations.coco.json"
    assert cfg.val_dataloader.dataset.data_prefix.img == "valid/"
    assert cfg.val_evaluator.ann_file == str(tmp_path / "valid/_annotations.coco.json")
    assert cfg.model.bbox_head.num_classes == 2


# Other formats


@pytest.mark.parametrize(
    ("files", "kind"),
    [
        ({"Annotations/a.xml": xml(), "JPEGImages/a.jpg": None}, "VOC"),
        ({"train/a.jpg": None, "train/a.xml": xml(), "val/b.jpg": None, "val/b.xml": xml()}, "labelImg"),
        ({"pictures/train/a.jpg": None, "xml/train/a.xml": xml(), "pictures/val/a.jpg": None, "xml/val/a.xml": xml()},
         "labelImg"),
        ({"a.jpg": None, "a.json": labelme(), "b.jpg": None, "b.json": labelme(file="b.jpg")}, "labelme"),
        ({"images/a.jpg": None, "json/a.json": labelme(file="..\\images\\a.jpg"), "images/b.jpg": None,
          "json/b.json": labelme(file="../images/b.jpg")}, "labelme"),
        ({"images/train/a.jpg": None, "labels/train/a.txt": "0 .375 .3333333 .5 .3333333", "images/val/b.jpg": None,
          "labels/val/b.txt": "0 .375 .3333333 .5 .3333333", "data.yaml": "names: [cat]"}, "YOLO"),
        ({"train/a.jpg": None, "train/a.txt": "\ufeff0 .375 .3333333 .5 .3333333\r\n", "val/b.jpg": None,
          "val/b.txt": "0 .375 .3333333 .5 .3333333", "train/classes.txt": "cat\r\n"}, "YOLO"),
        ({"obj_train_data/a.jpg": None, "obj_train_data/a.txt": "0 .375 .3333333 .5 .3333333", "obj.names": "cat",
          "obj_train_data/b.jpg": None, "obj_train_data/b.txt": "0 .375 .3333333 .5 .3333333"}, "YOLO"),
    ],
)  # fmt: skip
def test_each_format_is_recognised_and_converts(files, kind, tmp_path):
    root = put(tmp_path / "in", files)
    if kind == "VOC":
        put(root, {"Annotations/b.xml": xml(), "JPEGImages/b.jpg": None})
    assert find_format(root) == kind
    found = converted(root, tmp_path)
    assert [len(found[split]) for split in ("train", "val")] == [1, 1]
    for _, name, box in found["train"] + found["val"]:
        assert name == "cat" and box == pytest.approx(BOX, abs=1e-3)


def test_lists_of_voc_take_suffixes_and_trainval_trains(tmp_path):
    files = {f"{folder}/{n}{suffix}": text for n in "abc" for folder, suffix, text in
             (("Annotations", ".xml", xml()), ("JPEGImages", ".jpg", None))}  # fmt: skip
    lists = {"ImageSets/Main/trainval.txt": "a.jpg\nb.jpg  1\n", "ImageSets/Main/test.txt": "c.jpg\n"}
    found = converted(put(tmp_path / "in", files | lists), tmp_path)
    assert [name for name, *_ in found["train"]] == ["a.jpg", "b.jpg"]
    assert [name for name, *_ in found["val"]] == ["c.jpg"]


def test_swapped_corners_are_read_the_right_way_round(tmp_path, capsys):
    files = {"Annotations/a.xml": xml(corners=(40, 24, 9, 9)), "JPEGImages/a.jpg": None,
             "Annotations/b.xml": xml(), "JPEGImages/b.jpg": None}  # fmt: skip
    found = converted(put(tmp_path / "in", files), tmp_path)
    assert [box for *_, box in found["train"] + found["val"]] == [BOX, BOX]
    assert "swapped corners" in capsys.readouterr().err


def yolo(root, options, lines):
    for split in ("train", "val"):
        put(root, {f"images/{split}/{split}.jpg": None, f"labels/{split}/{split}.txt": lines})
    (root / "data.yaml").write_text(options)
    return root


@pytest.mark.parametrize(
    "options",
    [
        "path: ../datasets/mine\ntrain: images/first\nval: images/second",
        "train: ../images/first\nval: ../images/second",
        "train: ./images/first/\nval: [images/second]",
    ],
)
def test_yolo_s_yaml_names_folders(options, tmp_path):
    for name in ("first", "second"):
        put(tmp_path / "in", {f"images/{name}/{name}.jpg": None, f"labels/{name}/{name}.txt": "0 .5 .5 .25 .5"})
    (tmp_path / "in" / "data.yaml").write_text(f"names: [cat]\n{options}")
    found = converted(tmp_path / "in", tmp_path)
    assert [len(found[split]) for split in ("train", "val")] == [1, 1]


@pytest.mark.parametrize(
    ("options", "number", "name"),
    [("names: {0: cat, 2: dog, 5: bird}", 2, "dog"), ("names: {1: cat, 2: dog}", 1, "cat")],
)
def test_keys_of_yolo_s_names_count(options, number, name, tmp_path):
    found = converted(yolo(tmp_path / "in", options, f"{number} .5 .5 .25 .5"), tmp_path)
    assert [entry[1] for entry in found["train"]] == [name]


def test_of_a_yolo_pose_the_box_is_taken(tmp_path):
    points = " ".join(["0.4 0.3"] * 5)
    root = yolo(tmp_path / "in", "names: [cat]\nkpt_shape: [5, 2]", f"0 .375 .333333 .5 .333333 {points}")
    found = converted(root, tmp_path)
    assert found["train"][0][2] == pytest.approx(BOX, abs=1e-3)


def test_of_oriented_boxes_the_upright_box_is_taken(tmp_path, capsys):
    diamond = ".5 .0833333 .625 .25 .5 .4166667 .375 .25"  # a square on its corner: 32, 4 to 40, 12 to 32, 20 to 24, 12
    root = yolo(tmp_path / "in", "names: [cat]", f"0 {diamond}")
    found = converted(root, tmp_path)
    assert found["train"][0][2] == pytest.approx([24, 4, 16, 16], abs=1e-3)
    assert "oriented boxes" in capsys.readouterr().err
    content = json.loads((tmp_path / "converted/annotations/instances_train2017.json").read_text())
    assert "segmentation" not in content["annotations"][0]
    (root / "labels/train/train.txt").write_text(f"0 {diamond}\n0 .1 .1 .5 .1 .5 .5\n")
    converted(root, tmp_path)
    content = json.loads((tmp_path / "converted/annotations/instances_train2017.json").read_text())
    assert [len(entry["segmentation"][0]) for entry in content["annotations"]] == [8, 6]


def test_a_backslash_that_is_part_of_a_file_s_name_stays(tmp_path):
    for split in ("train", "val"):
        write_coco(tmp_path, f"annotations/{split}.json", f"images/{split}")
        content = json.loads((tmp_path / f"annotations/{split}.json").read_text())
        (tmp_path / f"images/{split}/0.jpg").rename(tmp_path / f"images/{split}/a\\0.jpg")
        content["images"][0]["file_name"] = "a\\0.jpg"
        (tmp_path / f"annotations/{split}.json").write_text(json.dumps(content))
    report = check_dataset(tmp_path)
    assert not report.fails and not any(fault.kind == "backslash" for fault in report.splits[0].faults)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda r: put(r, {"a.jpg": None, "a.json": labelme(kind="point", points=((1, 2),))}), "is a point of 1"),
        (lambda r: put(r, {"a.jpg": None, "a.json": labelme(name=None)}), "a shape whose label is None"),
        (lambda r: yolo(r, "names: [cat]", "0 .5 .5 -.25 .5"), "train.txt line 1 (a width or height below 0)"),
    ],
)
def test_an_object_that_cannot_be_one_is_told(write, message, tmp_path, capsys):
    assert convert([str(write(tmp_path / "in")), str(tmp_path / "out")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(("runs", "kinds"), [("sound", set()), ("abc", {"broken RLE"}), ("", {"broken RLE"})])
def test_runs_of_a_mask_fill_its_image(runs, kinds, tmp_path):
    pycocotools = pytest.importorskip("pycocotools.mask")
    pixels = np.zeros((HEIGHT, WIDTH), np.uint8, order="F")
    pixels[8:24, 8:40] = pixels[30:33, 50:] = 1
    shape = pycocotools.encode(pixels)["counts"].decode() if runs == "sound" else runs
    for split in ("train", "val"):
        content = coco()
        content["annotations"][0]["segmentation"] = dict(size=[HEIGHT, WIDTH], counts=shape)
        write_coco(tmp_path, f"annotations/{split}.json", f"images/{split}", content)
    assert {fault.kind for fault in check_dataset(tmp_path).splits[0].faults} == kinds


def test_an_area_below_0_is_put_right(tmp_path):
    for split in ("train", "val"):
        content = coco()
        content["annotations"][0]["area"] = -5
        write_coco(tmp_path, f"annotations/{split}.json", f"images/{split}", content)
    assert [fault.kind for fault in check_dataset(tmp_path).splits[0].faults] == ["no area"]


def test_class_folders_without_a_split_are_told_what_to_do(tmp_path):
    put(tmp_path, {f"train/{name}/{index}.jpg": None for name in ("cat", "dog") for index in range(2)})
    (fault,) = check_dataset(tmp_path).splits[0].faults
    assert fault.kind == "absent split" and "move some of each class to a folder val/" in str(fault)


def test_masks_of_any_layout_are_converted_with_their_meaning(tmp_path, capsys):
    for name in "abcde":
        image(tmp_path / "in" / "train" / f"{name}.jpg")
        mask = tmp_path / "in" / "trainannot" / f"{name}.png"
        mask.parent.mkdir(exist_ok=True)
        Image.new("L", (WIDTH, HEIGHT), 3 if name == "a" else 11).save(mask)
    assert convert([str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    report = check_dataset(tmp_path / "out")
    assert [len(split.samples) for split in report.splits] == [4, 1]
    assert not report.fails and report.classes[3] == "road"
    assert json.loads((tmp_path / "out" / "classes.json").read_text())["11"] is None


# Choices


def test_classes_are_chosen_merged_and_dropped(tmp_path):
    for split in ("train", "val"):
        write_coco(tmp_path / "in", f"annotations/{split}.json", f"images/{split}", coco(("car", "bus", "cat"), 3))
    (tmp_path / "names.json").write_text(json.dumps({"car": "vehicle", "bus": "vehicle", "cat": None}))
    found = converted(tmp_path / "in", tmp_path, "--rename", str(tmp_path / "names.json"))
    assert [name for _, name, _ in found["train"]] == ["vehicle", "vehicle"]
    found = converted(tmp_path / "in", tmp_path, "--classes", "cat,car")
    assert [name for _, name, _ in found["train"]] == ["car", "cat"]


def test_a_class_that_is_not_there_is_told(tmp_path, capsys):
    for split in ("train", "val"):
        write_coco(tmp_path / "in", f"annotations/{split}.json", f"images/{split}")
    assert convert([str(tmp_path / "in"), str(tmp_path / "out"), "--classes", "cow"]) == 2
    assert "no class cow" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_boxes_stand_for_masks_where_an_option_says_so(tmp_path):
    for split in ("train", "val"):
        content = coco()
        del content["annotations"][0]["segmentation"]
        write_coco(tmp_path / "in", f"annotations/{split}.json", f"images/{split}", content)
    converted(tmp_path / "in", tmp_path, "--boxes-as-masks")
    content = json.loads((tmp_path / "converted/annotations/instances_train2017.json").read_text())
    assert [a["segmentation"] for a in content["annotations"]] == [[[8, 8, 40, 8, 40, 24, 8, 24]], [POLYGON]]


# check-dataset --fix


def test_fix_puts_right_what_has_one_right_answer(tmp_path, capsys):
    for split in ("train", "val"):
        content = coco(count=6)
        first, second, third, fourth, fifth, last = content["annotations"]
        first["bbox"] = [-8, 8, 32, 16]
        second["bbox"] = [40, 24, -32, -16]
        third["area"] = 0
        del fourth["iscrowd"]
        fifth["id"] = 0
        last["segmentation"] = POLYGON
        write_coco(tmp_path / "in", f"annotations/{split}.json", f"images/{split}", content)
    assert check([str(tmp_path / "in")]) == 1
    assert check([str(tmp_path / "in"), "--fix", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    for what in ("2 boxes clipped", "2 polygons put into a list", "2 swapped corners", "2 no area", "2 no iscrowd"):
        assert what in said
    assert not check_dataset(tmp_path / "out").fails
    content = json.loads((tmp_path / "out/annotations/instances_train2017.json").read_text())
    assert [a["bbox"] for a in content["annotations"]] == [[0, 8, 24, 16], *[BOX] * 5]
    assert [a["id"] for a in content["annotations"]] == list(range(1, 7))


@pytest.mark.parametrize("upright", [True, False])
def test_fix_turns_photographs_as_their_annotations_have_them(upright, tmp_path):
    turned = Image.Exif()
    turned[274] = 6
    content = coco()
    for record in content["images"]:
        record.update(width=WIDTH, height=HEIGHT)
    for split in ("train", "val"):
        write_coco(tmp_path / "in", f"annotations/{split}.json", f"images/{split}", content)
        for record in content["images"]:
            size = (HEIGHT, WIDTH) if upright else (WIDTH, HEIGHT)
            image(tmp_path / "in/images" / split / record["file_name"], size, exif=turned)
    assert check([str(tmp_path / "in"), "--fix", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out/train2017/0.jpg") as fixed:
        assert fixed.size == (WIDTH, HEIGHT) and 274 not in fixed.getexif()
    assert not check_dataset(tmp_path / "out").fails
