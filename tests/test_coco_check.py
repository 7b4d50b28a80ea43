"""Faults of an annotation file are found, counted, listed and, where asked, left out."""

import copy
import json
import time

import numpy as np
import pytest

pytest.importorskip("mmdet")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking.pixel_check import DropOutsideBoxes  # noqa: E402
from maxvit_dense.openmmlab.data.configure import check_data, replace_data_root  # noqa: E402
from maxvit_dense.openmmlab.data.data_set import data_sets  # noqa: E402
from maxvit_dense.openmmlab.data.faults import refuse  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.coco_check import inspect_coco, reaches_outside  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.coco_file import read_annotations  # noqa: E402

CLASSES = ("circle", "square")


def box(number, bbox, image=1, category=1, **more):
    x, y, width, height = bbox
    corners = [x, y, x + width, y, x + width, y + height]
    return dict(
        id=number,
        image_id=image,
        category_id=category,
        bbox=bbox,
        area=width * height,
        iscrowd=0,
        segmentation=[corners],
        **more,
    )


def clean():
    """Two images of 40x30 pixels, three boxes; the last ends exactly on the border."""
    names = enumerate(CLASSES, 1)
    return dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=40, height=30) for i in (1, 2)],
        annotations=[
            box(1, [0, 0, 10, 10]),
            box(2, [5, 5, 20, 20], category=2),
            box(3, [20, 10, 20, 20], image=2),
        ],
        categories=[dict(id=i, name=name) for i, name in names],
    )


@pytest.fixture
def root(tmp_path):
    """A COCO data root with ``clean()`` as training and validation annotations."""
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        for name in ("1.jpg", "2.jpg"):
            (tmp_path / split / name).touch()
        write(tmp_path, clean(), split)
    return tmp_path


def write(root, content, split="train"):
    (root / f"{split}.json").write_text(json.dumps(content))


def loader(split, root="data/coco/", **more):
    pipeline = [dict(type="LoadAnnotations", with_bbox=True, with_mask=True)]
    dataset = dict(
        type="CocoDataset",
        data_root=root,
        ann_file=f"{split}.json",
        data_prefix=dict(img=f"{split}/"),
        metainfo=dict(classes=CLASSES),
        pipeline=pipeline,
    )
    return dict(dataset={**dataset, **more})


def config(root="data/coco/", **train):
    return Config(
        dict(
            default_scope="mmdet",
            train_dataloader=loader("train", root, **train),
            val_dataloader=loader("val", root),
            val_evaluator=dict(type="CocoMetric", ann_file=f"{root}/val.json", metric="bbox"),
        )
    )


def faults(content, tmp_path, **options):
    for image in content["images"]:
        (tmp_path / image["file_name"]).touch()
    return {fault.kind: fault for fault in inspect_coco(content, str(tmp_path), CLASSES, **options)}


def test_a_clean_file_has_no_faults(tmp_path):
    assert faults(clean(), tmp_path, masks=True, evaluated=True) == {}


def change(path, value):
    """A function that sets one entry of a content, or drops it for ``value=None``."""

    def apply(content):
        *parents, last = path
        for key in parents:
            content = content[key]
        if value is None:
            del content[last]
        else:
            content[last] = value

    return apply


PLANTED = [
    ("image entry", change(["images", 1, "width"], None), "entry 1 lacks width"),
    ("image entry", change(["images", 0, "height"], 0), "entry 0 lacks height and width above 0"),
    ("annotation entry", change(["annotations", 2, "bbox"], [1, 2, 3]), "entry 2 lacks bbox of four"),
    ("annotation entry", change(["annotations", 0, "area"], None), "entry 0 lacks area"),
    ("annotation entry", change(["annotations", 1, "iscrowd"], None), "entry 1 lacks iscrowd"),
    ("annotation entry", change(["annotations", 1], "text"), "entry 1 lacks id"),
    ("unknown category", change(["categories", 1, "name"], "cat"), "cat"),
    ("absent category", change(["categories", 1], None), "square"),
    ("class twice", change(["categories", 1, "name"], "circle"), "circle"),
    ("category order", lambda c: c["categories"].reverse(), "square is where the config has circle"),
    ("image id", change(["images", 1, "id"], 1), "1"),
    ("annotation id", change(["annotations", 1, "id"], 3), "3"),
    ("dangling annotation", change(["annotations", 1, "image_id"], 9), "2"),
    ("dangling annotation", change(["annotations", 1, "category_id"], 9), "2"),
    ("no segmentation", change(["annotations", 1, "segmentation"], []), "2"),
    ("box outside", change(["annotations", 1, "bbox"], [30, 5, 20, 20]), "[30, 5, 20, 20] in 1.jpg (40x30"),
    ("box outside", change(["annotations", 0, "bbox"], [-3, 0, 9, 9]), "[-3, 0, 9, 9] in 1.jpg"),
    ("box outside", change(["annotations", 0, "bbox"], [0, float("nan"), 9, 9]), "nan"),
    ("empty box", change(["annotations", 2, "bbox"], [3, 3, 0, 5]), "[3, 3, 0, 5] in 2.jpg"),
    ("empty box", change(["annotations", 2, "area"], 0), "annotation 3"),
]


@pytest.mark.parametrize(("kind", "plant", "place"), PLANTED)
def test_finds_each_planted_fault_and_names_its_place(tmp_path, kind, plant, place):
    content = clean()
    plant(content)
    found = faults(content, tmp_path, masks=True, evaluated=True)
    assert found[kind].count == (2 if kind == "category order" else 1)
    assert place in found[kind].places[0]


def test_counts_all_and_lists_a_few(tmp_path):
    content = clean()
    content["images"] += [dict(id=i, file_name=f"sub/{i}.jpg", width=9, height=9) for i in range(10, 30)]
    (tmp_path / "1.jpg").touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "12.jpg").touch()
    (fault,) = inspect_coco(content, str(tmp_path), CLASSES)
    assert fault.count == 20  # 2.jpg, and 19 of the 20 in sub/
    told = "2.jpg, sub/10.jpg, sub/11.jpg, sub/13.jpg, sub/14.jpg, ..."
    assert str(fault).startswith(f"20 of 22 images do not exist in {tmp_path}: {told}.")


def test_a_pixel_over_the_border_is_rounding_and_more_is_not():
    boxes = np.array([[-1, -1, 41, 31], [-1.1, 0, 9, 9], [0, 0, 41.1, 9], [0, 0, 9, 31.1]])
    assert reaches_outside(boxes, 40, 30).tolist() == [False, True, True, True]


def test_empty_boxes_are_told_but_never_refused(tmp_path):
    """COCO's own train2017 has two of them."""
    content = clean()
    content["annotations"][0]["bbox"] = [3, 3, 5, 0]
    found = faults(content, tmp_path)
    assert found["empty box"].count == 1
    refuse(found.values(), "file.json")


def test_all_refusals_come_in_one_message(tmp_path):
    content = clean()
    content["categories"][0]["name"] = "cat"
    content["annotations"][0]["bbox"] = [3, 3, 500, 5]
    with pytest.raises(InputError) as caught:
        refuse(faults(content, tmp_path).values(), "file.json")
    message = str(caught.value)
    assert message.startswith("file.json cannot be used:")
    assert "cat" in message and "1 boxes reach outside" in message and "--bad-boxes skip" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{not json", "broken JSON"),
        ("[1, 2]", "no list images, annotations, categories"),
        ('{"images": [], "categories": []}', "no list annotations"),
        ('{"images": [], "annotations": [], "categories": []}', "lists no images"),
        (None, "no annotation file"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, text, message):
    path = tmp_path / "file.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_annotations(str(path))


def test_a_binary_file_is_broken_json(tmp_path):
    (tmp_path / "file.json").write_bytes(bytes(range(256)))
    with pytest.raises(InputError, match="broken JSON"):
        read_annotations(str(tmp_path / "file.json"))


def test_a_whole_coco_is_checked_in_seconds(tmp_path):
    """118,000 images and 860,000 boxes: a twentieth of each within a twentieth of 30 seconds."""
    numbers = range(5900)
    for number in numbers:
        (tmp_path / f"{number}.jpg").touch()
    content = dict(clean(), images=[dict(id=i, file_name=f"{i}.jpg", width=40, height=30) for i in numbers])
    content["annotations"] = [box(i, [1, 2, 10, 10], image=i % 5900) for i in range(43000)]
    began = time.process_time()
    assert inspect_coco(content, str(tmp_path), CLASSES, masks=True, evaluated=True) == []
    assert time.process_time() - began < 1.5


def test_a_file_is_read_anew_when_it_has_changed(tmp_path):
    path = tmp_path / "file.json"
    for width in (40, 4000):
        path.write_text(json.dumps(dict(clean(), images=[dict(id=1, file_name="1.jpg", width=width, height=30)])))
        assert read_annotations(str(path))["images"][0]["width"] == width


# The data sets of a config.


def test_clean_data_passes_and_changes_nothing(root):
    cfg = config(str(root))
    before = copy.deepcopy(cfg.to_dict())
    check_data(cfg, ("train", "val"))
    assert cfg.to_dict() == before


def test_official_coco_annotations_pass(shared_data):
    cfg = config(f"{shared_data}/coco", metainfo=None)
    dataset = cfg.train_dataloader.dataset
    dataset.update(ann_file="annotations/instances_train2017.json", data_prefix=dict(img="train2017/"))
    check_data(cfg, ("train",))


def wrapped(root):
    inner = loader("train", root)["dataset"]
    repeated = dict(type="RepeatDataset", times=2, dataset=dict(inner))
    parts = dict(type="ConcatDataset", datasets=[inner, repeated])
    return dict(type="MultiImageMixDataset", dataset=parts, pipeline=[])


def test_data_root_reaches_through_wrappers_and_evaluators(root):
    cfg = config()
    cfg.train_dataloader.dataset = wrapped("data/coco/")
    cfg.test_dataloader = loader("val", "data/coco/")
    panoptic = dict(ann_file="data/coco/p.json", seg_prefix="data/coco/seg/")
    cfg.test_evaluator = [dict(type="CocoPanopticMetric", **panoptic)]
    replace_data_root(cfg, str(root))
    assert [data.root for data in data_sets(cfg, ("train",))] == [str(root)] * 2
    assert cfg.val_dataloader.dataset.data_root == cfg.test_dataloader.dataset.data_root == str(root)
    assert cfg.val_evaluator.ann_file == f"{root}/val.json"
    assert cfg.test_evaluator[0].ann_file == f"{root}/p.json"
    assert cfg.test_evaluator[0].seg_prefix == f"{root}/seg"
    assert cfg.val_evaluator.metric == "bbox"
    check_data(cfg, ("train", "val"))


def test_one_data_root_cannot_stand_for_two():
    cfg = config()
    cfg.val_dataloader.dataset.data_root = "elsewhere"
    with pytest.raises(InputError, match="2: data/coco/, elsewhere.*--cfg-options"):
        replace_data_root(cfg, "anywhere")


def test_missing_roots_files_and_images_are_refused(root):
    with pytest.raises(InputError, match="no data root absent/.*--data-root"):
        check_data(config("absent/"), ("train",))
    (root / "val.json").unlink()
    with pytest.raises(InputError, match="no annotation file .*val.json"):
        check_data(config(str(root)), ("train", "val"))
    (root / "train" / "2.jpg").unlink()
    with pytest.raises(InputError, match="1 of 2 images do not exist in .*train/: 2.jpg"):
        check_data(config(str(root)), ("train",))


def test_the_evaluators_own_file_is_looked_for(root):
    cfg = config(str(root))
    cfg.val_evaluator.ann_file = "data/coco/val.json"
    with pytest.raises(InputError, match="no annotation file data/coco/val.json for CocoMetric"):
        check_data(cfg, ("train", "val"))


def test_the_default_classes_of_a_data_set_count_too(root):
    with pytest.raises(InputError, match="80 classes of the config") as caught:
        check_data(config(str(root), metainfo=None), ("train",))
    assert "2 categories that the config does not know: circle, square" in str(caught.value)


def test_an_unknown_type_of_data_set_is_named(root):
    with pytest.raises(InputError, match="type CocoDataSet, which is not registered"):
        check_data(config(str(root), type="CocoDataSet"), ("train",))


def plant_box_outside(root, split="train"):
    content = clean()
    content["annotations"][1]["bbox"] = [30, 5, 20, 20]
    write(root, content, split)


def built_train_set(cfg):
    from mmdet.registry import DATASETS
    from mmengine.registry import DefaultScope

    with DefaultScope.overwrite_default_scope("mmdet"):
        return DATASETS.build(cfg.train_dataloader.dataset)


def test_boxes_outside_are_refused_unless_told_to_skip(root):
    plant_box_outside(root)
    with pytest.raises(InputError, match="1 boxes reach outside"):
        check_data(config(str(root)), ("train",))
    cfg = config(str(root))
    check_data(cfg, ("train",), bad_boxes="skip")
    assert cfg.train_dataloader.dataset.pipeline[0].type == "DropOutsideBoxes"


@pytest.mark.parametrize("nested", [False, True])
def test_skipped_boxes_never_reach_training(root, nested):
    plant_box_outside(root)
    cfg = config(str(root), serialize_data=False)
    if nested:
        cfg.train_dataloader = dict(dataset=dict(type="RepeatDataset", times=2, **cfg.train_dataloader))
    data_sets(cfg, ("train",))[0].entry.pipeline = []  # no images to load: look at what a pipeline is given
    check_data(cfg, ("train",), bad_boxes="skip")
    samples = [built_train_set(cfg)[index] for index in range(2)]
    assert [[item["bbox"] for item in sample["instances"]] for sample in samples] == [
        [[0, 0, 10, 10]],
        [[20, 10, 40, 30]],
    ]
    assert json.loads((root / "train.json").read_text())["annotations"][1]["bbox"] == [30, 5, 20, 20]


def test_evaluation_keeps_its_ground_truth(root):
    plant_box_outside(root, "val")
    cfg = config(str(root))
    check_data(cfg, ("train", "val"), bad_boxes="skip")
    assert [step.type for step in cfg.val_dataloader.dataset.pipeline] == ["LoadAnnotations"]


def test_nothing_left_to_train_on_is_refused(root):
    content = clean()
    for annotation in content["annotations"]:
        annotation["bbox"] = [30, 5, 20, 20]
    write(root, content)
    with pytest.raises(InputError, match="of its 3 boxes 3 are left out"):
        check_data(config(str(root)), ("train",), bad_boxes="skip")
    write(root, dict(clean(), annotations=[]))
    with pytest.raises(InputError, match="of its 0 boxes"):
        check_data(config(str(root)), ("train",))


def test_the_dropping_step_leaves_its_input_alone():
    instances = [dict(bbox=[0, 0, 60, 9]), dict(bbox=[0, 0, 9, 9])]
    results = dict(width=40, height=30, instances=instances, img_id=3)
    kept = DropOutsideBoxes()(results)
    assert kept == dict(results, instances=[dict(bbox=[0, 0, 9, 9])])
    assert len(results["instances"]) == 2
