"""Accuracy of an exported model is that of the config's metrics: an oracle gets all of it, a blind model none."""

import numpy as np
import pytest
from mmengine.model import revert_sync_batchnorm
from PIL import Image
from pycocotools.coco import COCO

from maxvit_dense.errors import InputError
from maxvit_dense.openmmlab.config.load import build_model, load_config
from maxvit_dense.openmmlab.export.accuracy import evaluation
from maxvit_dense.openmmlab.inference.predictor import Predictor
from maxvit_dense.sample_data.writer import write_sample_data

SHAPES = ("circle", "square", "triangle", "star", "ring", "cross")


@pytest.fixture(scope="module")
def samples(tmp_path_factory):
    root = tmp_path_factory.mktemp("sample") / "data"
    write_sample_data(root, train=4, val=4)
    return root


def predictor(family, classes):
    cfg = load_config(f"demo_{family}_maxvit_mini_sample", {}, ("model", "test_dataloader"))
    model = revert_sync_batchnorm(build_model(cfg)).eval()
    return Predictor(cfg, model, dict(classes=classes, palette=None, mask_values=list(range(len(classes)))), 1)


def in_turn(results):
    """A model that is called with one image after the other, and knows the answers."""
    answers = iter(results)
    return lambda images: [next(answers) for _ in images]


def drawn_objects(folder):
    coco = COCO(str(folder / "annotations" / "instances_val2017.json"))
    labels = {category: label for label, category in enumerate(coco.getCatIds())}
    for image in coco.getImgIds():
        found = coco.loadAnns(coco.getAnnIds(image))
        boxes = np.array([a["bbox"] for a in found], np.float32).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        masks = np.stack([coco.annToMask(a).astype(bool) for a in found])
        kinds = np.array([labels[a["category_id"]] for a in found])
        yield dict(boxes=boxes, scores=np.ones(len(found), np.float32), labels=kinds, masks=masks)


def test_objects(samples):
    model = predictor("maskrcnn", SHAPES)
    right = evaluation(model, str(samples / "coco"))(in_turn(drawn_objects(samples / "coco")))
    assert right["coco/bbox_mAP"] > 0.99 and right["coco/segm_mAP"] > 0.99
    wrong = [found | dict(labels=(found["labels"] + 1) % 6) for found in drawn_objects(samples / "coco")]
    assert evaluation(model, str(samples / "coco"))(in_turn(wrong))["coco/bbox_mAP"] < 0.5


def test_classes_of_images(samples):
    model = predictor("pretrain", SHAPES)
    folder = samples / "imagenet" / "val"
    names = [path.parent.name for path in sorted(folder.glob("*/*"))]
    right = [dict(scores=np.eye(6, dtype=np.float32)[SHAPES.index(name)]) for name in names]
    assert evaluation(model, str(samples / "imagenet"))(in_turn(right))["accuracy/top1"] == 100
    blind = [dict(scores=np.eye(6, dtype=np.float32)[0])] * len(names)
    share = 100 * names.count(SHAPES[0]) / len(names)
    assert evaluation(model, str(samples / "imagenet"))(in_turn(blind))["accuracy/top1"] == pytest.approx(share)


def test_labels_of_pixels(samples):
    folder = samples / "ade" / "ADEChallengeData2016"
    kinds = tuple((folder / "classes.txt").read_text().split())
    masks = [np.asarray(Image.open(path)) for path in sorted((folder / "annotations" / "validation").iterdir())]
    right = [dict(labels=(mask.clip(1) - 1).astype(np.uint8)) for mask in masks]  # 0 is unlabelled and does not count
    model = predictor("upernet", kinds)
    assert evaluation(model, str(folder))(in_turn(right))["mIoU"] == 100
    wrong = [dict(labels=(found["labels"] + 1) % 10) for found in right]
    assert evaluation(model, str(folder))(in_turn(wrong))["mIoU"] == 0


def test_data_of_other_classes_are_refused(samples):
    with pytest.raises(InputError, match="does not know"):
        evaluation(predictor("pretrain", ("cat", "dog")), str(samples / "imagenet"))
    with pytest.raises(InputError, match="classes"):
        evaluation(predictor("maskrcnn", SHAPES[::-1]), str(samples / "coco"))
