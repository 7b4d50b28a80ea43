"""Which models are exported whole, how their images are prepared, and that their steps are mmdet's and mmseg's."""

import numpy as np
import pytest
import torch
from mmengine.model import revert_sync_batchnorm

from maxvit_dense.errors import InputError
from maxvit_dense.export.compare import MEASURES
from maxvit_dense.export.job import example_inputs
from maxvit_dense.openmmlab.config.load import build_model, load_config
from maxvit_dense.openmmlab.export import detectors, segmentors
from maxvit_dense.openmmlab.export.preparation import preparation
from maxvit_dense.openmmlab.export.whole import make_exportable
from maxvit_dense.openmmlab.inference.predictor import Predictor
from tests.networks import fill_with_noise

CLASSES = tuple(f"class{i}" for i in range(10))
COLOURS = [123.675, 116.28, 103.53]  # ImageNet's mean
CROP = dict(rule="crop", interpolation="bicubic")


def predictor(family):
    """A demo's model with random weights whose scores differ."""
    name = "atss_maxvit_mini_bccd" if family == "atss" else f"demo_{family}_maxvit_mini_sample"
    cfg = load_config(name, {}, ("model", "test_dataloader"))
    torch.manual_seed(0)
    model = revert_sync_batchnorm(build_model(cfg)).eval()
    fill_with_noise(model.backbone.net)
    if family == "retinanet":
        torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.05)
    if family == "atss":
        torch.nn.init.normal_(model.bbox_head.atss_cls.weight, std=0.05)
        torch.nn.init.normal_(model.bbox_head.atss_centerness.weight, std=0.05)
    if family == "maskrcnn":
        model.roi_head.test_cfg.score_thr = 0.1  # untrained, it gives each class about 1/7
    classes = CLASSES if cfg.default_scope == "mmseg" else CLASSES[: 3 if family == "atss" else 6]
    return Predictor(cfg, model, dict(classes=classes, palette=None, mask_values=[7, *range(len(classes) - 1)]), 1)


@pytest.mark.parametrize("family", ["retinanet", "atss", "maskrcnn", "upernet", "fpn"])
def test_a_program_s_steps_are_those_of_the_model(family):
    exportable = make_exportable(predictor(family), family, backbone_alone=False)
    assert not exportable.left_out
    assert exportable.card.mask_values == ([7, *range(9)] if "segmentation" == exportable.card.task else None)
    for size in ((97, 131), (160, 96)):
        inputs = example_inputs(size, list(exportable.graph.example))
        with torch.no_grad():
            found = exportable.graph.module(*map(torch.from_numpy, inputs.values()))
        found = [found] if isinstance(found, torch.Tensor) else found
        found = {name: value.numpy() for name, value in zip(exportable.card.outputs, found, strict=True)}
        expected = exportable.reference(inputs)
        assert {name: value.shape for name, value in found.items()} == {k: v.shape for k, v in expected.items()}
        assert len(next(iter(expected.values()))) > 0
        assert MEASURES[exportable.card.task](found, expected, "fp32") < 1e-4
        if "scores" in expected:
            assert np.ptp(expected["scores"]) > 1e-3 or family == "maskrcnn"  # or the comparison would see nothing


@pytest.mark.parametrize(
    ("family", "reason"),
    [
        ("cascade_maskrcnn", "CascadeRoIHead"),
        ("dino", "it is a DINO"),
        ("mask2former", "it is a Mask2Former"),
        ("mask2former_semantic", "Mask2FormerHead"),
    ],
)
def test_other_families_are_named_with_the_reason(family, reason):
    model = build_model(load_config(f"demo_{family}_maxvit_mini_sample", {}, ("model",)))
    module = segmentors if hasattr(model, "decode_head") else detectors
    assert reason in module.why_not(model)


def test_sliding_windows_are_no_program():
    model = build_model(load_config("demo_fpn_maxvit_mini_sample", {"model.test_cfg.mode": "slide"}, ("model",)))
    assert "test_cfg.mode=whole" in segmentors.why_not(model)


@pytest.mark.parametrize(
    ("config", "resize", "mean"),
    [
        ("maskrcnn_maxvit_t_coco", dict(rule="fit", short=800, long=1333), COLOURS),
        ("upernet_maxvit_t_ade20k", dict(rule="fit", short=512, long=2048), COLOURS),
        ("pretrain_maxvit_t_imagenet", dict(CROP, size=[224, 224], scale=[235]), COLOURS),
        ("finetune_maxvit_t_384_imagenet", dict(CROP, size=[384, 384], scale=[384, 384]), [127.5] * 3),
    ],
)
def test_images_are_prepared_as_the_config_says(config, resize, mean):
    cfg = load_config(config, {"model.init_cfg": None}, ("model", "test_dataloader"))
    cfg.model.get("backbone", {}).pop("init_cfg", None)
    rules = preparation(cfg, build_model(cfg))
    assert rules["resize"] == resize
    assert rules["order"] == "rgb" and rules["pad_multiple"] == 1
    np.testing.assert_allclose(rules["mean"], mean, rtol=1e-5)


def test_a_pipeline_that_the_runtime_does_not_know_is_refused():
    cfg = load_config("demo_retinanet_maxvit_mini_sample", {}, ("model", "test_dataloader"))
    cfg.test_dataloader.dataset.pipeline.insert(1, dict(type="RandomFlip", prob=1.0))
    model = build_model(cfg)
    with pytest.raises(InputError, match="RandomFlip"):
        preparation(cfg, model)
    assert preparation(cfg, model, any_resizing=True)["resize"] == dict(rule="keep")
