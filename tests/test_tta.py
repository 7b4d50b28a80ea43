"""Test-time augmentation: which views are made, and how boxes, masks and label maps of several views become one."""

import importlib
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# First of all, since it brings the operators that mmdet's import asks mmcv for.
pytest.importorskip("maxvit_dense.openmmlab", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmcv.transforms import Compose  # noqa: E402
from mmdet.models.test_time_augs import DetTTAModel  # noqa: E402
from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.config import Config, ConfigDict  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from pycocotools import mask as rle  # noqa: E402
from torch import nn  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.config.load import build_model  # noqa: E402
from maxvit_dense.openmmlab.inference.tta import MaskTTAModel, augment_test  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402

evaluate = importlib.import_module("tools.test").main
CONFIGS = Path(__file__).resolve().parent.parent / "configs"
HEIGHT, WIDTH = 12, 20


class Detector(nn.Module):
    def test_step(self, data):
        raise NotImplementedError


def merger(kind=MaskTTAModel, iou=0.5, most=100):
    return kind(module=Detector(), tta_cfg=ConfigDict(nms=dict(type="nms", iou_threshold=iou), max_per_img=most))


def view(boxes, scores, labels, masks=None, flip=None):
    """What a detector found in one view of an image of HEIGHT x WIDTH."""
    sample = DetDataSample(
        metainfo=dict(ori_shape=(HEIGHT, WIDTH), img_id=0, flip=flip is not None, flip_direction=flip)
    )
    found = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        scores=torch.tensor(scores, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    if masks is not None:
        found.masks = torch.as_tensor(np.asarray(masks, dtype=bool)).reshape(-1, HEIGHT, WIDTH)
    sample.pred_instances = found
    return sample


def merge(views, **kwargs):
    return merger(**kwargs).merge_preds([views])[0].pred_instances


def scattered(rng, count):
    """Boxes of different classes, so that none suppresses another, with random masks and falling scores."""
    corners = rng.integers(0, (WIDTH // 2, HEIGHT // 2), size=(count, 2))
    sizes = rng.integers(2, (WIDTH // 2, HEIGHT // 2), size=(count, 2))
    boxes = np.concatenate([corners, corners + sizes], axis=1).tolist()
    return boxes, np.linspace(0.9, 0.1, count), range(count), rng.random((count, HEIGHT, WIDTH)) < 0.5


@pytest.mark.parametrize("direction", ["horizontal", "vertical", "diagonal"])
def test_boxes_and_masks_are_flipped_back(direction):
    boxes, scores, labels, masks = scattered(np.random.default_rng(0), 4)
    merged = merge([view([], [], [], []), view(boxes, scores, labels, masks, flip=direction)])
    across, down = direction in ("horizontal", "diagonal"), direction in ("vertical", "diagonal")
    for i, (x1, y1, x2, y2) in enumerate(boxes):
        if across:
            x1, x2 = WIDTH - x2, WIDTH - x1
        if down:
            y1, y2 = HEIGHT - y2, HEIGHT - y1
        assert merged.bboxes[i].tolist() == [x1, y1, x2, y2]
        for y in range(HEIGHT):
            for x in range(WIDTH):
                seen_at = (HEIGHT - 1 - y if down else y, WIDTH - 1 - x if across else x)
                assert merged.masks[i, y, x].item() == masks[i][seen_at]
    assert merged.labels.tolist() == list(labels)
    assert merged.scores.tolist() == pytest.approx(scores)


def test_the_surer_of_two_boxes_is_kept_with_its_own_mask():
    masks = np.zeros((2, HEIGHT, WIDTH), dtype=bool)
    masks[0, 3, 4] = masks[1, 5, 6] = True
    seen = view([[2, 2, 10, 10]], [0.6], [1], masks[:1])
    seen_flipped = view([[WIDTH - 10, 2, WIDTH - 2, 10]], [0.7], [1], masks[1:], flip="horizontal")
    merged = merge([seen, seen_flipped])
    assert merged.scores.tolist() == pytest.approx([0.7])
    assert merged.bboxes.tolist() == [[2, 2, 10, 10]]
    assert merged.masks.nonzero().tolist() == [[0, 5, WIDTH - 1 - 6]]


def test_boxes_of_two_classes_do_not_suppress_each_other():
    merged = merge([view([[2, 2, 10, 10]], [0.6], [0]), view([[2, 2, 10, 10]], [0.7], [1])])
    assert merged.labels.tolist() == [1, 0]


def test_identical_views_merge_to_one_of_them():
    found = scattered(np.random.default_rng(1), 5)
    single = view(*found).pred_instances
    merged = merge([view(*found) for _ in range(3)])
    for field in ("bboxes", "scores", "labels", "masks"):
        assert torch.equal(merged[field], single[field]), field


def test_the_most_detections_of_an_image_are_kept_to():
    merged = merge([view(*scattered(np.random.default_rng(2), 5))], most=2)
    assert merged.labels.tolist() == [0, 1] and merged.masks.shape == (2, HEIGHT, WIDTH)


def test_without_masks_boxes_merge_as_mmdet_merges_them():
    rng = np.random.default_rng(3)

    def views():
        made = []
        for flip in (None, "horizontal", "vertical"):
            corners = rng.uniform(0, 8, (30, 2))
            boxes = np.concatenate([corners, corners + rng.uniform(1, 4, (30, 2))], axis=1)
            made.append(view(boxes.tolist(), rng.random(30), rng.integers(0, 3, 30), flip=flip))
        return made

    ours = views()
    theirs = merger(DetTTAModel).merge_preds([[sample.clone() for sample in ours]])[0].pred_instances
    merged = merge(ours)
    assert 0 < len(merged) < 90 and "masks" not in merged
    for field in ("bboxes", "scores", "labels"):
        assert torch.equal(merged[field], theirs[field]), field


def test_views_without_any_box_merge_to_none():
    merged = merge([view([], [], [], []), view([], [], [], [], flip="horizontal")])
    assert len(merged) == 0 and merged.masks.shape == (0, HEIGHT, WIDTH)


# Which views are made.


def config(scope, pipeline, **more):
    dataset = dict(type="CocoDataset", pipeline=pipeline)
    return Config(dict(default_scope=scope, model=dict(type="Any"), test_dataloader=dict(dataset=dataset), **more))


def load_and_resize(scale, last):
    return [
        dict(type="LoadImageFromFile"),
        dict(type="Resize", scale=scale, keep_ratio=True),
        dict(type="LoadAnnotations"),
        last,
    ]


@pytest.mark.parametrize(
    ("scope", "sizes"),
    [
        ("mmdet", [(100, 40), (200, 80), (300, 120)]),
        ("mmseg", [(100, 40), (150, 60), (200, 80), (250, 100), (300, 120), (350, 140)]),
    ],
)
def test_views_have_the_test_scale_at_several_ratios(scope, sizes):
    cfg = config(scope, load_and_resize((200, 80), dict(type="Pack")))
    augment_test(cfg)
    load, augmented = cfg.test_dataloader.dataset.pipeline
    resizes, flips, annotations, pack = augmented.transforms
    assert load.type == "LoadImageFromFile" and augmented.type == "TestTimeAug"
    assert [(step.scale, step.keep_ratio) for step in resizes] == [(size, True) for size in sizes]
    assert [step.prob for step in flips] == [0.0, 1.0]
    assert [annotations[0].type, pack[0].type] == ["LoadAnnotations", "Pack"]
    assert cfg.model.module == dict(type="Any")


def test_every_second_view_is_the_mirror_image_and_no_truth_is_flipped(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    keys = ("img_id", "ori_shape", "img_shape", "scale_factor")
    steps = load_and_resize((40, 24), dict(type="PackDetInputs", meta_keys=keys))
    steps[2].update(with_bbox=True)
    cfg = config("mmdet", steps)
    augment_test(cfg)
    box = [3.0, 4.0, 10.0, 12.0]
    results = dict(
        img_path=str(tmp_path / "image.png"), img_id=7, instances=[dict(bbox=box, bbox_label=0, ignore_flag=0)]
    )
    with DefaultScope.overwrite_default_scope("mmdet"):
        views = Compose(cfg.test_dataloader.dataset.pipeline)(results)
    assert [tuple(image.shape[1:]) for image in views["inputs"]] == [(12, 20)] * 2 + [(24, 40)] * 2 + [(36, 60)] * 2
    for plain, mirrored in zip(views["inputs"][::2], views["inputs"][1::2], strict=True):
        assert torch.equal(plain.flip(-1), mirrored)
    assert [sample.flip_direction for sample in views["data_samples"]] == [None, "horizontal"] * 3
    assert all(sample.gt_instances.bboxes.tensor.tolist() == [box] for sample in views["data_samples"])


def test_a_config_s_own_views_and_merging_are_used():
    own = [dict(type="LoadImageFromFile"), dict(type="mmdet.TestTimeAug", transforms=[])]
    cfg = config("mmpose", [], tta_pipeline=own, tta_model=dict(type="Own"))
    augment_test(cfg)
    assert cfg.test_dataloader.dataset.pipeline == own
    assert cfg.model == dict(type="Own", module=dict(type="Any"))


@pytest.mark.parametrize(
    ("scope", "pipeline", "more", "message"),
    [
        ("mmdet", [dict(type="LoadImageFromFile"), dict(type="Pad")], {}, "its steps are: LoadImageFromFile, Pad"),
        ("mmdet", [], {}, "its steps are: none"),
        ("mmseg", [dict(type="Resize", scale_factor=2)], {}, "no single Resize step with a scale"),
        ("mmseg", [dict(type="LoadAnnotations"), dict(type="Resize", scale=8)], {}, "Move LoadAnnotations behind"),
        ("mmpose", [dict(type="Resize", scale=8)], {}, "default_scope is mmpose"),
        ("mmdet", [], dict(tta_pipeline=[dict(type="Resize", scale=8)]), "has no step TestTimeAug"),
    ],
)
def test_views_that_cannot_be_made_are_refused(scope, pipeline, more, message):
    with pytest.raises(InputError, match=message):
        augment_test(config(scope, pipeline, **more))


# From the command line to a result, with an untrained Mask R-CNN on one image.


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    """Arguments of tools/test.py for a tiny Mask R-CNN: its config on one image of its own size, its weights."""
    root = tmp_path_factory.mktemp("detector")
    write_sample_data(str(root / "sample"), train=1, val=1, size=64, seed=3)
    (image,) = (root / "sample" / "coco" / "val2017").iterdir()
    size = Image.open(image).size
    cfg = Config.fromfile(CONFIGS / "demo" / "demo_maskrcnn_maxvit_mini_sample.py")
    cfg.model.backbone.init_cfg = None
    cfg.model.test_cfg.rcnn.update(score_thr=0.0, max_per_img=8)
    cfg.test_dataloader.update(num_workers=0, persistent_workers=False)
    cfg.test_dataloader.dataset.pipeline[1].scale = size
    cfg.dump(root / "tiny.py")
    torch.save(build_model(cfg).state_dict(), root / "weights.pth")
    return [str(root / "tiny.py"), str(root / "weights.pth"), "--data-root", str(root / "sample" / "coco")]


def predictions(arguments, folder, *extra):
    """What tools/test.py finds in the one image: boxes, scores, labels, and masks as arrays."""
    assert evaluate([*arguments, "--work-dir", str(folder), "--out", str(folder / "p.pkl"), *extra]) == 0
    (sample,) = pickle.loads((folder / "p.pkl").read_bytes())
    found = sample["pred_instances"]
    return {**found, "masks": np.stack([rle.decode(mask) for mask in found["masks"]])}


def with_views(arguments, folder, flips):
    """The same arguments with a config whose views have the image's own size, flipped or not by probability."""
    cfg = Config.fromfile(arguments[0])
    load, resize, annotations, pack = cfg.test_dataloader.dataset.pipeline
    pack.meta_keys = (*pack.meta_keys, "flip", "flip_direction")
    chosen = [dict(type="RandomFlip", prob=prob, direction="horizontal") for prob in flips]
    steps = [[resize], chosen, [annotations], [pack]]
    cfg.tta_pipeline = [load, dict(type="TestTimeAug", transforms=steps)]
    cfg.dump(folder / "views.py")
    return [str(folder / "views.py"), *arguments[1:]]


def test_identical_views_of_an_image_give_the_result_of_one(detector, tmp_path):
    single = predictions(detector, tmp_path / "single")
    double = predictions(with_views(detector, tmp_path, flips=[0.0, 0.0]), tmp_path / "double", "--tta")
    assert len(single["scores"]) == 8
    for field in ("bboxes", "scores", "labels", "masks"):
        assert np.array_equal(single[field], double[field]), field


def test_a_flipped_view_gives_the_flipped_result_of_the_flipped_image(detector, tmp_path):
    flipped = predictions(with_views(detector, tmp_path, flips=[1.0]), tmp_path / "flipped", "--tta")
    root = Path(detector[3])
    (image,) = (root / "val2017").iterdir()
    mirror = tmp_path / "mirror" / "val2017"
    mirror.mkdir(parents=True)
    (tmp_path / "mirror" / "annotations").symlink_to(root / "annotations")
    pixels = np.asarray(Image.open(image))
    Image.fromarray(pixels[:, ::-1]).save(mirror / image.name, format="PNG")  # lossless, whatever its name says
    expected = predictions([*detector[:3], str(tmp_path / "mirror")], tmp_path / "expected")
    width = pixels.shape[1]
    x1, y1, x2, y2 = expected["bboxes"].unbind(-1)
    assert torch.allclose(flipped["bboxes"], torch.stack([width - x2, y1, width - x1, y2], dim=-1), atol=1e-3)
    assert torch.allclose(flipped["scores"], expected["scores"])
    assert np.array_equal(flipped["masks"], expected["masks"][:, :, ::-1])


def test_all_views_are_evaluated_and_the_report_says_so(detector, tmp_path):
    out = tmp_path / "r.json"
    assert evaluate([*detector, "--work-dir", str(tmp_path / "work"), "--tta", "--out", str(out)]) == 0
    assert '"test_time_augmentation": true' in out.read_text()
    assert "coco/segm_mAP" in out.read_text()
