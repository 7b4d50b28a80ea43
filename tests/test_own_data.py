"""One's own data, through the command lines: from a directory of files to a metric."""

import importlib
import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("mmdet")

from mmengine.config import Config, ConfigDict  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking import checks  # noqa: E402
from maxvit_dense.openmmlab.data.configure import adopt_classes  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.coco_check import category_names  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests.commands import refused  # noqa: E402
from tests.data_folders import records, write_voc, write_yolo  # noqa: E402
from tests.small_detector import write_config  # noqa: E402
from tests.spoil import ORIENTATION, cut, edit, first  # noqa: E402

train = importlib.import_module("tools.train").main
evaluate = importlib.import_module("tools.test").main
convert = importlib.import_module("tools.convert_dataset").main

NAMES = ("bolt", "nut", "washer")  # circle and square, triangle and star, ring and cross


@pytest.fixture(scope="module")
def configs(tmp_path_factory):
    """An 80-class Mask R-CNN and RetinaNet."""
    folder = tmp_path_factory.mktemp("configs")
    for name in ("mask", "box"):
        write_config(folder, name, classes=None, masks=name == "mask")
    return folder


@pytest.fixture(scope="module")
def own_coco(tmp_path_factory):
    """A COCO set of three classes that no config knows, six training and three validation images."""
    root = tmp_path_factory.mktemp("own") / "sample"
    write_sample_data(str(root), train=6, val=3, size=64, seed=0)
    for path in (root / "coco" / "annotations").iterdir():
        content = json.loads(path.read_text())
        content["categories"] = [dict(id=10 * i, name=name) for i, name in enumerate(NAMES, 1)]
        for annotation in content["annotations"]:
            annotation["category_id"] = 10 * ((annotation["category_id"] + 1) // 2)
        path.write_text(json.dumps(content))
    return root / "coco"


@pytest.fixture
def voc(own_coco, tmp_path):
    """The same as a VOC folder; the first object of each image is difficult."""
    return write_voc(own_coco, tmp_path / "voc")


@pytest.fixture
def yolo(own_coco, tmp_path):
    """The same as a YOLO folder with a data.yaml."""
    return write_yolo(own_coco, tmp_path / "yolo")


# COCO, with the classes of its files.


def test_three_classes_from_files_to_a_metric(configs, own_coco, tmp_path, capsys):
    work, config = tmp_path / "work", str(configs / "mask.py")
    assert train([config, "--data-root", str(own_coco), "--work-dir", str(work)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "in place of the config's" in line]
    assert len(said) == 1 and "3 classes" in said[0] and "80: bolt, nut, washer." in said[0]
    assert "roi_head.bbox_head, roi_head.mask_head" in said[0]
    checkpoint = str(work / "epoch_1.pth")
    out = tmp_path / "r.json"
    for arguments in ([str(work / "mask.py"), checkpoint], [config, checkpoint, "--data-root", str(own_coco)]):
        assert evaluate([*arguments, "--work-dir", str(tmp_path / "test"), "--out", str(out)]) == 0
        assert "coco/bbox_mAP_50" in json.loads(out.read_text())["metrics"]
        found = json.loads((tmp_path / "r.bbox.json").read_text())
        assert {entry["category_id"] for entry in found} <= {10, 20, 30} and found
    dumped = Config.fromfile(work / "mask.py")
    for loader in (dumped.train_dataloader, dumped.val_dataloader, dumped.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == NAMES
        assert len(set(map(tuple, loader.dataset.metainfo.palette))) == 3


def rename(content):
    content["categories"][1]["name"] = "bolt"


def other_category(content):
    content["categories"][2]["name"] = "screw"


def reorder(content):
    content["categories"].reverse()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, "names a category twice: bolt"),
        (other_category, "washer is in instances_train2017.json only, screw is in instances_val2017.json only"),
        (reorder, "differ: they stand in another order"),
        (lambda content: content.update(categories=[]), "no list of categories"),
        (lambda content: content["categories"][0].pop("name"), "no list of categories"),
        (lambda content: content.update(images=[], annotations=[]), "lists no images"),
    ],
)
def test_classes_that_cannot_be_adopted_are_refused(configs, own_coco, tmp_path, capsys, change, message):
    root = Path(shutil.copytree(own_coco, tmp_path / "copy"))
    edit(root, change, "val")
    arguments = [str(configs / "mask.py"), "--data-root", str(root), "--work-dir", str(tmp_path / "work")]
    assert message in refused(train, arguments, capsys, tmp_path)


def test_each_annotation_file_is_opened_once_before_the_first_step(configs, own_coco, tmp_path, monkeypatch):
    opened = []

    def load(stream):
        opened.append(Path(getattr(stream, "name", "results in memory")).name)
        return json.loads(stream.read())

    monkeypatch.setattr("json.load", load)
    cfg = prepare.prepare_training(str(configs / "mask.py"), data_root=str(own_coco), work_dir=str(tmp_path / "work"))
    prepare.build_runner(cfg).val_loop  # noqa: B018, builds the evaluator
    annotations = sorted(name for name in opened if name.startswith("instances"))
    assert annotations == ["instances_train2017.json", "instances_val2017.json"], opened


def test_classes_given_by_hand_stand(configs, own_coco):
    with pytest.raises(InputError, match="classes of the config that the file does not have"):
        overrides = {"train_dataloader.dataset.metainfo.classes": ["bolt", "cat"]}
        prepare.prepare_training(str(configs / "mask.py"), data_root=str(own_coco), overrides=overrides)


def resized(path):
    with Image.open(path) as opened:
        opened.convert("RGB").resize((31, 33)).save(path)


# The others are in test_check_dataset, where the same functions look at them.
@pytest.mark.parametrize(
    ("spoil", "message"), [(cut, "images cannot be read"), (resized, "annotated .*, read 31x33")]
)
def test_images_that_cannot_be_trained_on_are_refused(configs, own_coco, tmp_path, capsys, spoil, message):
    root = Path(shutil.copytree(own_coco, tmp_path / "copy"))
    spoil(first(root, "train2017/*.jpg"))
    arguments = [str(configs / "box.py"), "--data-root", str(root), "--work-dir", str(tmp_path / "work")]
    said = refused(train, arguments, capsys, tmp_path)
    assert re.search(message, said), said


def test_an_upright_photograph_of_a_turned_file_trains(configs, own_coco, tmp_path):
    root = Path(shutil.copytree(own_coco, tmp_path / "copy"))
    path = first(root, "train2017/*.jpg")
    with Image.open(path) as opened:
        upright = opened.convert("RGB")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    upright.rotate(90, expand=True).save(path, exif=exif)
    prepare.prepare_training(str(configs / "box.py"), data_root=str(root), work_dir=str(tmp_path / "work"))


def test_a_size_outside_the_sample_stops_training_by_name(configs, own_coco, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checks, "header_faults", lambda images: [])
    root = Path(shutil.copytree(own_coco, tmp_path / "copy"))
    path = first(root, "train2017/*.jpg")
    resized(path)
    assert train([str(configs / "box.py"), "--data-root", str(root), "--work-dir", str(tmp_path / "work")]) == 2
    assert re.search(rf"train: {path} is annotated .* and read as 31x33", capsys.readouterr().err)


def shaped(model, own_coco, configs):
    """``model`` after the classes were adopted."""
    cfg = Config.fromfile(configs / "mask.py")
    cfg.model = ConfigDict(model)
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.data_root = str(own_coco)
    adopt_classes(cfg, ("train", "val"))
    return cfg.model


def test_every_kind_of_head_is_sized(configs, own_coco):
    model = shaped(
        dict(
            rpn_head=dict(num_classes=1),
            roi_head=dict(bbox_head=[dict(num_classes=80), dict(num_classes=80)], mask_head=dict(num_classes=80)),
            bbox_head=dict(num_classes=80),
            panoptic_head=dict(
                num_things_classes=80, num_stuff_classes=0, loss_cls=dict(class_weight=[1.0] * 80 + [0.1])
            ),
            panoptic_fusion_head=dict(num_things_classes=80, num_stuff_classes=0),
        ),
        own_coco,
        configs,
    )
    assert model.rpn_head.num_classes == 1
    assert [head.num_classes for head in model.roi_head.bbox_head] == [3, 3]
    assert model.roi_head.mask_head.num_classes == model.bbox_head.num_classes == 3
    assert model.panoptic_head == dict(
        num_things_classes=3, num_stuff_classes=0, loss_cls=dict(class_weight=[1.0, 1.0, 1.0, 0.1])
    )
    assert model.panoptic_fusion_head == dict(num_things_classes=3, num_stuff_classes=0)


def test_weights_of_single_classes_are_not_guessed(configs, own_coco):
    head = dict(num_classes=80, loss_cls=dict(class_weight=[*range(80), 0.1]))
    with pytest.raises(InputError, match="bbox_head.loss_cls.class_weight weighs 80 classes one by one"):
        shaped(dict(bbox_head=head), own_coco, configs)


def test_the_config_s_own_classes_change_nothing(configs, own_coco):
    cfg = Config.fromfile(configs / "mask.py")
    for loader in (cfg.train_dataloader, cfg.val_dataloader):
        loader.dataset.update(data_root=str(own_coco), metainfo=dict(classes=NAMES))
    before = cfg.to_dict()
    adopt_classes(cfg, ("train", "val"))
    assert cfg.to_dict() == before


# VOC and YOLO, through the converter.


@pytest.mark.parametrize("kind", ["voc", "yolo"])
def test_other_formats_become_the_same_coco(kind, own_coco, tmp_path, capsys, request):
    source, target = request.getfixturevalue(kind), tmp_path / "coco"
    assert convert([str(source), str(target)]) == 0
    printed = capsys.readouterr().out
    assert "train" in printed and "washer" in printed
    for split in ("train", "val"):
        ours = {path.name: objects for path, _, objects in records(own_coco, split)}
        content = json.loads((target / "annotations" / f"instances_{split}2017.json").read_text())
        assert [category["name"] for category in content["categories"]] == list(NAMES)
        assert len(content["images"]) == len(ours)
        for image in content["images"]:
            found = [a for a in content["annotations"] if a["image_id"] == image["id"]]
            assert [a["category_id"] - 1 for a in found] == [label for label, _ in ours[image["file_name"]]]
            for annotation, (_, box) in zip(found, ours[image["file_name"]], strict=True):
                assert annotation["bbox"] == pytest.approx(box, abs=1e-6)
            assert [a["iscrowd"] for a in found] == [int(kind == "voc" and i == 0) for i in range(len(found))]


def test_voc_without_lists_is_divided_the_same_way_each_time(voc, tmp_path, capsys):
    shutil.rmtree(voc / "ImageSets")
    for name in ("a", "b"):
        assert convert([str(voc), str(tmp_path / name), "--val-fraction", "0.34", "--copy"]) == 0
    assert "34% of the images drawn for validation" in capsys.readouterr().err
    names = [sorted(path.name for path in (tmp_path / name / "val2017").iterdir()) for name in ("a", "b")]
    assert len(names[0]) == 3 and names[0] == names[1]


def test_yolo_polygons_become_masks(yolo, tmp_path):
    path = next((yolo / "labels" / "train").iterdir())
    path.write_text("1 0.25 0.25 0.75 0.25 0.75 0.5\n")
    assert convert([str(yolo), str(tmp_path / "coco")]) == 0
    content = json.loads((tmp_path / "coco/annotations/instances_train2017.json").read_text())
    image = next(image for image in content["images"] if image["file_name"].startswith(path.stem))
    (found,) = [a for a in content["annotations"] if a["image_id"] == image["id"]]
    width, height = image["width"], image["height"]
    assert found["bbox"] == pytest.approx([width / 4, height / 4, width / 2, height / 4])
    assert found["area"] == pytest.approx(width * height / 16)
    assert len(found["segmentation"][0]) == 6


def test_an_earlier_conversion_is_replaced_and_nothing_else(yolo, tmp_path, capsys):
    target = tmp_path / "coco"
    assert convert([str(yolo), str(target)]) == 0 and convert([str(yolo), str(target)]) == 0
    (target / "converted.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    assert convert([str(yolo), str(target)]) == 2 and convert([str(yolo), str(yolo)]) == 2
    said = capsys.readouterr().err
    assert "is no conversion of this tool" in said and "holds the data set to convert" in said
    assert sorted(tmp_path.rglob("*")) == before


# Of each way to refuse; what readers find in files is in test_check_dataset.
BAD = [
    ("voc", lambda r: first(r, "JPEGImages/*").unlink(), "listed images do not exist"),
    ("voc", lambda r: Image.new("RGB", (9, 7)).save(first(r, "JPEGImages/*")), "read 9x7"),
    ("voc", lambda r: (r / "ImageSets/Main/val.txt").write_text(""), "no images for the val split"),
    ("yolo", lambda r: first(r, "images/train/*").write_text("no"), "images cannot be read"),
    ("yolo", lambda r: (r / "data.yaml").unlink(), "names no classes"),
    ("yolo", lambda r: shutil.rmtree(r / "labels"), "none of the known layouts"),
]


@pytest.mark.parametrize(("kind", "spoil", "message"), BAD)
def test_bad_input_is_not_converted(kind, spoil, message, tmp_path, capsys, request):
    root = request.getfixturevalue(kind)
    spoil(root)
    said = refused(convert, [str(root), str(tmp_path / "coco")], capsys, tmp_path)
    assert re.search(message, said), said


def test_category_names_keep_the_order_of_the_file(own_coco):
    assert category_names(str(own_coco / "annotations/instances_val2017.json")) == NAMES
