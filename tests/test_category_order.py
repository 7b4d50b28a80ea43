"""A COCO file whose categories stand in another order than the model's classes: labels follow the model's."""

import json
import shutil

import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.config import Config  # noqa: E402
from mmengine.registry import DATASETS, METRICS  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.configure import configure_data  # noqa: E402
from maxvit_dense.sample_data import CLASSES, write_sample_data  # noqa: E402
from tests.small_detector import write_config  # noqa: E402

CHECKPOINT = dict(meta=dict(dataset_meta=dict(classes=CLASSES)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two validation scenes twice, in coco/ as drawn, in turned/ with the categories the other way round."""
    root = tmp_path_factory.mktemp("data")
    write_sample_data(str(root / "sample"), train=2, val=4, size=64, seed=0)
    shutil.copytree(root / "sample" / "coco", root / "turned")
    path = root / "turned" / "annotations" / "instances_val2017.json"
    content = json.loads(path.read_text())
    content["categories"].reverse()
    path.write_text(json.dumps(content))
    return root


def configured(folder, tmp_path, **changes):
    cfg = Config.fromfile(write_config(tmp_path))
    cfg.merge_from_dict(changes)
    configure_data(cfg, ("test",), data_root=str(folder / "turned"), checkpoint=CHECKPOINT)
    return cfg


def objects(path):
    """(image, class name, box as (x1, y1, x2, y2)) of a file, as it says itself."""
    content = json.loads(path.read_text())
    names = {c["id"]: c["name"] for c in content["categories"]}
    boxes = [(a["image_id"], names[a["category_id"]], *a["bbox"]) for a in content["annotations"] if not a["iscrowd"]]
    return [(image, name, (x, y, x + w, y + h)) for image, name, x, y, w, h in boxes]


def test_data_and_metric_number_labels_by_the_checkpoint(folder, tmp_path, mmdet_scope):
    cfg = configured(folder, tmp_path)
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset, pipeline=[]))
    assert dataset.metainfo["classes"] == tuple(CLASSES)
    found = [
        (info["img_id"], CLASSES[instance["bbox_label"]], tuple(instance["bbox"]))
        for info in map(dataset.get_data_info, range(len(dataset)))
        for instance in info["instances"]
        if not instance["ignore_flag"]
    ]
    truth = objects(folder / "turned" / "annotations" / "instances_val2017.json")
    assert sorted(found) == sorted(truth)

    metric = METRICS.build(dict(cfg.test_evaluator, metric="bbox"))
    metric.dataset_meta = dataset.metainfo
    for image in {image for image, *_ in truth}:
        mine = [(CLASSES.index(name), box) for i, name, box in truth if i == image]
        labels, boxes = (torch.tensor(part) for part in zip(*mine, strict=True))
        perfect = dict(labels=labels, bboxes=boxes.float(), scores=torch.ones(len(mine)))
        metric.process({}, [dict(img_id=image, ori_shape=(64, 64), pred_instances=perfect)])
    assert metric.evaluate(size=len(dataset))["coco/bbox_mAP"] == 1.0


def test_a_data_set_that_cannot_follow_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="in another order than the model's classes.*labels of CocoOccluded"):
        configured(folder, tmp_path, **{"test_evaluator.type": "CocoOccludedSeparatedMetric"})
