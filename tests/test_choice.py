"""Classes chosen, merged and renamed, and boxes that stand for masks: the same to training, metrics and the check."""

import importlib
import json

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet")
pytest.importorskip("mmseg")

from mmengine.config import Config  # noqa: E402
from mmengine.registry import DATASETS, METRICS  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.choice import Choice, choice_of, corners  # noqa: E402
from maxvit_dense.openmmlab.data.configure import configure_data  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.mask_files import read_labels  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.mask_folders import MaskFolder  # noqa: E402
from tests import small_segmentor  # noqa: E402
from tests.small_detector import write_config  # noqa: E402

check = importlib.import_module("tools.check_dataset").main

SIDE = 64
BOXES = {"cat": [4, 4, 20, 20], "car": [30, 4, 20, 20], "bus": [4, 30, 20, 20], "cow": [30, 30, 20, 20]}


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """Two images a split, each with one object of each of four classes, whose ids are not in their order."""
    root = tmp_path_factory.mktemp("coco")
    ids = dict(zip(BOXES, (7, 3, 9, 1), strict=True))
    for split in ("train", "val"):
        (root / f"{split}2017").mkdir()
        for image in range(2):
            Image.new("RGB", (SIDE, SIDE), "white").save(root / f"{split}2017" / f"{image}.png")
        content = dict(
            images=[dict(id=i, file_name=f"{i}.png", width=SIDE, height=SIDE) for i in range(2)],
            categories=[dict(id=number, name=name) for name, number in ids.items()],
            annotations=[
                dict(
                    dict(id=10 * image + ids[name], image_id=image, category_id=ids[name], area=400, iscrowd=0),
                    **dict(bbox=box, segmentation=[corners(box)]),
                )
                for image in range(2)
                for name, box in BOXES.items()
            ],
        )
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
    return root


@pytest.fixture
def without(coco, tmp_path):
    """The same without an entry of each annotation."""

    def write(key):
        for split in ("train", "val"):
            content = json.loads((coco / "annotations" / f"instances_{split}2017.json").read_text())
            for entry in content["annotations"]:
                del entry[key]
            (tmp_path / key / "annotations").mkdir(parents=True, exist_ok=True)
            (tmp_path / key / f"{split}2017").symlink_to(coco / f"{split}2017")
            (tmp_path / key / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))
        return tmp_path / key

    return write


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return write_config(tmp_path_factory.mktemp("detector"))


def configured(root, config, choice=None, phases=("train", "val"), **changes):
    cfg = Config.fromfile(config)
    cfg.merge_from_dict(changes)
    configure_data(cfg, phases, data_root=str(root), **(dict(choice=choice) if choice else {}))
    return cfg


def objects(dataset):
    """(class, box) of each object of the first image, as a data set numbers and names them."""
    names = dataset.metainfo["classes"]
    return sorted(
        (names[o["bbox_label"]], o["bbox"][0], o["bbox"][1]) for o in dataset.get_data_info(0)["instances"]
    )


CHOICES = {
    "kept": (Choice(keep=("cow", "cat")), ("cow", "cat"), [("cat", 4, 4), ("cow", 30, 30)]),
    "merged": (
        Choice(renamed={"car": "vehicle", "bus": "vehicle", "cow": None}),
        ("cat", "vehicle"),
        [("cat", 4, 4), ("vehicle", 4, 30), ("vehicle", 30, 4)],
    ),
    "merged and kept": (
        Choice(keep=("vehicle", "cow"), renamed={"car": "vehicle", "bus": "vehicle"}),
        ("vehicle", "cow"),
        [("cow", 30, 30), ("vehicle", 4, 30), ("vehicle", 30, 4)],
    ),
}


@pytest.mark.parametrize("case", CHOICES)
def test_data_sets_heads_and_metrics_follow_a_choice(case, coco, detector, tmp_path, mmdet_scope):
    choice, names, truth = CHOICES[case]
    cfg = configured(coco, detector, choice)
    assert cfg.model.roi_head.bbox_head.num_classes == len(names)
    cfg.dump(tmp_path / "dumped.py")
    cfg = configured(coco, tmp_path / "dumped.py", phases=("test",))
    for loader in (cfg.train_dataloader, cfg.test_dataloader):
        dataset = DATASETS.build(dict(loader.dataset, pipeline=[]))
        assert dataset.metainfo["classes"] == names and objects(dataset) == truth

    metric = METRICS.build(dict(cfg.test_evaluator, metric="bbox"))
    metric.dataset_meta = dataset.metainfo
    for image in range(2):
        boxes = torch.tensor([[x, y, x + 20, y + 20] for _, x, y in truth], dtype=torch.float32)
        labels = torch.tensor([names.index(name) for name, *_ in truth])
        found = dict(labels=labels, bboxes=boxes, scores=torch.ones(len(truth)))
        metric.process({}, [dict(img_id=image, ori_shape=(SIDE, SIDE), pred_instances=found)])
    assert metric.evaluate(size=2)["coco/bbox_mAP"] == 1.0


def test_a_class_that_is_not_there_is_refused_before_anything_else(coco, detector):
    with pytest.raises(InputError, match="no class dog; there are cat, car, bus, cow"):
        configured(coco, detector, Choice(keep=("dog",)))


def test_classes_by_hand_and_by_choice_do_not_mix(coco, detector):
    options = dict(data_root=str(coco), choice=Choice(keep=("cat",)), overrides={"model.head.num_classes": 3})
    with pytest.raises(InputError, match="model.head.num_classes gives the classes"):
        configure_data(Config.fromfile(detector), ("train",), **options)


def test_a_metric_that_reads_the_file_in_its_own_way_cannot_follow(coco, detector):
    with pytest.raises(InputError, match="labels of CocoOccludedSeparatedMetric follow the file"):
        configured(coco, detector, Choice(keep=("cat",)), **{"val_evaluator.type": "CocoOccludedSeparatedMetric"})


def test_boxes_stand_for_masks_where_it_is_asked_for(without, detector, mmdet_scope):
    root = without("segmentation")
    with pytest.raises(InputError, match="8 annotations without a segmentation.*--boxes-as-masks"):
        configured(root, detector)
    cfg = configured(root, detector, Choice(boxes_as_masks=True))
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    assert dataset.get_data_info(0)["instances"][0]["mask"] == [[4, 4, 24, 4, 24, 24, 4, 24]]


def test_the_check_follows_the_same_options(coco, tmp_path, capsys):
    (tmp_path / "names.json").write_text(json.dumps({"car": "vehicle", "bus": "vehicle", "cow": None}))
    assert check([str(coco), "--rename", str(tmp_path / "names.json")]) == 0
    said = capsys.readouterr().out
    assert "2 classes" in said and "train2017: 2 images, 6 boxes" in said
    assert check([str(coco), "--classes", "dog"]) == 2


def test_a_file_without_boxes_gets_those_around_its_polygons(without, detector, capsys):
    assert check([str(without("bbox"))]) == 0
    assert "8 annotations without a box" in capsys.readouterr().out


def test_a_list_of_classes_file_and_names_are_told_apart(tmp_path):
    (tmp_path / "names.txt").write_text("cat\n")
    assert choice_of(str(tmp_path / "names.txt")).names == ["cat"]
    assert choice_of("cat, car").keep == ("cat", "car")


# Masks


@pytest.fixture(scope="module")
def segmentor(tmp_path_factory):
    return small_segmentor.write_config(tmp_path_factory.mktemp("segmentor"))


def masks(root, names):
    """An image a split, whose mask has stripes of 0, 1, 2 and 3."""
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        Image.new("RGB", (SIDE, SIDE), "white").save(root / "images" / split / "a.png")
        Image.fromarray(np.repeat(np.arange(4, dtype=np.uint8), 16)[None].repeat(SIDE, 0)).save(
            root / "masks" / split / "a.png"
        )
    (root / "classes.json").write_text(json.dumps(names))
    return root


def stripes(cfg):
    """The label of each stripe as mmseg loads it."""
    from mmseg.datasets.transforms import LoadAnnotations

    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=[]))
    return LoadAnnotations()(dict(dataset.load_data_list()[0]))["gt_seg_map"][0, ::16].tolist()


FOUR = ["sky", "road", "car", "bus"]
BUSES = {"0": "sky", "1": "road", "2": "vehicle", "3": "vehicle"}


@pytest.mark.parametrize(
    ("names", "choice", "classes", "labels"),
    [
        (FOUR, Choice(keep=("car", "road")), ("car", "road"), [255, 1, 0, 255]),
        (FOUR, Choice(renamed={"car": "vehicle", "bus": "vehicle"}), ("sky", "road", "vehicle"), [0, 1, 2, 2]),
        (FOUR, Choice(renamed={"sky": None, "bus": "road"}), ("road", "car"), [255, 0, 1, 0]),
        (BUSES, None, ("sky", "road", "vehicle"), [0, 1, 2, 2]),
    ],
)
def test_masks_follow_a_choice_and_a_config_keeps_it(names, choice, classes, labels, segmentor, tmp_path):
    root = masks(tmp_path / "data", names)
    cfg = configured(root, segmentor, choice)
    assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == classes and stripes(cfg) == labels
    assert cfg.model.decode_head.num_classes == len(classes)
    cfg.dump(tmp_path / "dumped.py")
    cfg = configured(root, tmp_path / "dumped.py", phases=("test",))
    assert tuple(cfg.test_dataloader.dataset.metainfo.classes) == classes and stripes(cfg) == labels


def test_values_of_one_name_are_one_class_and_a_list_names_each_once(tmp_path):
    folder = MaskFolder(tmp_path, "images and masks", "masks", {})
    (tmp_path / "classes.json").write_text(json.dumps(BUSES))
    assert read_labels(folder).classes == ("sky", "road", "vehicle") and not read_labels(folder).twice
    (tmp_path / "classes.json").write_text(json.dumps(["sky", "road", "road"]))
    assert read_labels(folder).twice == ("road",)


@pytest.mark.parametrize("text", ["", ",", " , "])
def test_classes_without_a_name_are_refused(text):
    with pytest.raises(InputError, match="names no class"):
        choice_of(text)
