"""Predictions of a padded batch are those of its images alone; in training the padding takes no part."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")
pytest.importorskip("mmseg", reason="needs mmseg (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from mmengine.registry import MODELS, DefaultScope, init_default_scope  # noqa: E402
from mmengine.structures import InstanceData, PixelData  # noqa: E402

from maxvit_dense.openmmlab import exact_batches  # noqa: E402
from tests.config_files import find  # noqa: E402
from tests.networks import fill_with_noise, relative_difference  # noqa: E402

SIZES = [(70, 130), (128, 61), (96, 96), (33, 128)]


@pytest.fixture(autouse=True)
def _no_scope_stays():
    yield
    DefaultScope._instance_dict.clear()


def model_of(name: str) -> tuple[nn.Module, str]:
    cfg = Config.fromfile(str(find(name)))
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model)
    model.init_weights()  # mmdet's DETRs leave parameters as the memory was before it
    fill_with_noise(model.backbone.net)
    return model.eval(), cfg.default_scope


def batch_of(scope: str, sizes, annotated=False) -> dict:
    if scope == "mmdet":
        from mmdet.structures import DetDataSample as Sample
        from mmdet.structures.mask import BitmapMasks
    else:
        from mmseg.structures import SegDataSample as Sample
    generator = torch.Generator().manual_seed(1)
    inputs, samples = [], []
    for h, w in sizes:
        inputs.append(torch.randint(0, 256, (3, h, w), generator=generator, dtype=torch.uint8))
        meta = dict(img_shape=(h, w), ori_shape=(h, w), scale_factor=(1.0, 1.0), img_id=len(samples), pad_shape=(h, w))
        sample = Sample(metainfo=meta)
        if annotated and scope == "mmdet":
            masks = np.zeros((1, h, w), dtype=np.uint8)
            masks[:, 5:25, 5:25] = 1
            sample.gt_instances = InstanceData(
                bboxes=torch.tensor([[5.0, 5.0, 25.0, 25.0]]), labels=torch.tensor([1]), masks=BitmapMasks(masks, h, w)
            )
        elif annotated:
            sample.gt_sem_seg = PixelData(data=torch.randint(0, 5, (1, h, w), generator=generator))
        samples.append(sample)
    return dict(inputs=inputs, data_samples=samples)


def predictions(model, scope, sizes, one_by_one: bool) -> list:
    batch = batch_of(scope, sizes)
    pairs = list(zip(batch["inputs"], batch["data_samples"], strict=True))
    found = []
    with torch.no_grad():
        for group in [[pair] for pair in pairs] if one_by_one else [pairs]:
            images, samples = [list(part) for part in zip(*copy.deepcopy(group), strict=True)]
            predict = predict_detections if scope == "mmdet" else predict_labels
            found += predict(model, images, samples)
    return found


def predict_detections(model, images, samples) -> list:
    return model.test_step(dict(inputs=images, data_samples=samples))


def predict_labels(model, images, samples) -> list:
    """mmseg refuses a batch of different sizes in evaluation before anything sees it, so here it is made by hand."""
    side = 32 * -(-max(max(image.shape[1:]) for image in images) // 32)
    canvas = torch.zeros(len(images), 3, side, side)
    for item, image in zip(canvas, images, strict=True):
        h, w = image.shape[1:]
        item[:, :h, :w] = model.data_preprocessor(dict(inputs=[image], data_samples=None))["inputs"][0]
    for sample in samples:
        h, w = sample.img_shape
        sample.set_metainfo(dict(pad_shape=(side, side), img_padding_size=[0, side - w, 0, side - h]))
    if model.backbone.image_sizes is not None:
        model.backbone.image_sizes.note(canvas, samples)
    return model.predict(canvas, samples)


DETECTORS = ["demo_maskrcnn_maxvit_mini_sample", "demo_retinanet_maxvit_mini_sample", "demo_dino_maxvit_mini_sample",
             "demo_mask2former_maxvit_mini_sample"]  # fmt: skip


@pytest.mark.parametrize("name", DETECTORS)
def test_detections_of_a_batch_are_those_of_the_images_alone(name):
    model, scope = model_of(name)
    assert exact_batches.attach(model)
    alone, together = (predictions(model, scope, SIZES, one) for one in (True, False))
    for a, b in zip(alone, together, strict=True):
        a, b = a.pred_instances, b.pred_instances
        assert len(a) == len(b)
        torch.testing.assert_close(a.scores, b.scores, rtol=0, atol=1e-4)
        torch.testing.assert_close(a.bboxes, b.bboxes, rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("name", ["demo_upernet_maxvit_mini_sample", "demo_fpn_maxvit_mini_sample"])
def test_labels_of_a_batch_are_those_of_the_images_alone(name):
    model, scope = model_of(name)
    assert exact_batches.attach(model)
    alone, together = (predictions(model, scope, SIZES, one) for one in (True, False))
    for (h, w), a, b in zip(SIZES, alone, together, strict=True):
        assert a.pred_sem_seg.shape == b.pred_sem_seg.shape == (h, w)
        assert (a.pred_sem_seg.data == b.pred_sem_seg.data).float().mean() > 0.9999


def test_without_it_they_differ():
    model, scope = model_of("demo_upernet_maxvit_mini_sample")
    alone, together = (predictions(model, scope, SIZES, one) for one in (True, False))
    same = [(a.pred_sem_seg.data == b.pred_sem_seg.data).float().mean() for a, b in zip(alone, together, strict=True)]
    assert min(same) < 0.99


def total_of(losses: dict) -> torch.Tensor:
    values = [v for k, v in losses.items() if "loss" in k]
    return sum(part.sum() for value in values for part in (value if isinstance(value, list) else [value]))


@pytest.mark.parametrize("name", [*DETECTORS[:2], "demo_upernet_maxvit_mini_sample"])
def test_in_training_the_padding_changes_no_gradient_of_the_backbone(name):
    model, scope = model_of(name)
    assert exact_batches.attach(model)
    model.train()
    sizes = [(min(h, 90), min(w, 80)) for h, w in SIZES]
    gradients = []
    for fill in (0.0, 200.0):
        torch.manual_seed(0)
        model.zero_grad()
        data = model.data_preprocessor(batch_of(scope, sizes, annotated=True), True)
        for image, (h, w) in zip(data["inputs"], sizes, strict=True):
            image[:, h:], image[:, :, w:] = fill, fill
        total_of(model(**data, mode="loss")).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.backbone.parameters() if p.grad is not None]))
    assert gradients[0].abs().max() > 0
    assert relative_difference(*gradients) == 0


def noted(model, sizes, canvas):
    """The model's note of a batch, as its data preprocessor takes it."""
    model.backbone.image_sizes.note(torch.zeros(len(sizes), 3, *canvas), batch_of("mmdet", sizes)["data_samples"])


def test_regions_read_the_edge_of_their_image_as_the_edge_of_a_map():
    model, _ = model_of("demo_maskrcnn_maxvit_mini_sample")
    exact_batches.attach(model)
    model.train()
    maps = [torch.zeros(len(SIZES), 64, -(-128 // s), -(-136 // s)) for s in (4, 8, 16, 32)]
    alone = [[torch.randn(1, 64, -(-h // s), -(-w // s)) for s in (4, 8, 16, 32)] for h, w in SIZES]
    for i, own in enumerate(alone):
        for canvas, one in zip(maps, own, strict=True):
            canvas[i, :, : one.shape[2], : one.shape[3]] = one
    extract = model.roi_head.bbox_roi_extractor
    boxes = [torch.tensor([[float(w) - 30, float(h) - 20, float(w), float(h)], [0.0, 0.0, w, h]]) for h, w in SIZES]
    expected = [extract(own, torch.cat([torch.zeros(2, 1), b], 1)) for own, b in zip(alone, boxes, strict=True)]
    noted(model, SIZES, (128, 136))
    together = extract(maps, torch.cat([torch.cat([torch.full((2, 1), i), b], 1) for i, b in enumerate(boxes)]))
    torch.testing.assert_close(together, torch.cat(expected))


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6), nn.GroupNorm(2, 6)])
def test_norms_of_neck_and_heads_learn_from_real_positions(norm):
    model, _ = model_of("demo_retinanet_maxvit_mini_sample")
    model.neck.add_module("norm", copy.deepcopy(norm))
    exact_batches.attach(model)
    model.train()
    noted(model, SIZES, (128, 136))
    canvas = torch.full((len(SIZES), 6, 32, 34), 7.0)
    alone = [torch.randn(1, 6, -(-h // 4), -(-w // 4)) for h, w in SIZES]
    for item, one in zip(canvas, alone, strict=True):
        item[:, : one.shape[2], : one.shape[3]] = one[0]
    found = model.neck.norm(canvas)
    if isinstance(norm, nn.GroupNorm):
        expected = [norm(one) for one in alone]
    else:
        values = torch.cat([one[0].flatten(1) for one in alone], 1)
        mean, variance = values.mean(1).view(-1, 1, 1), values.var(1, correction=0).view(-1, 1, 1)
        expected = [(one - mean) / (variance + norm.eps).sqrt() for one in alone]
        torch.testing.assert_close(model.neck.norm.running_mean, 0.1 * values.mean(1))
    for item, one in zip(found, expected, strict=True):
        torch.testing.assert_close(item[:, : one.shape[2], : one.shape[3]], one[0])


def test_pooled_contexts_in_training_are_those_of_each_image():
    """On a canvas of 192 x 192, whose map of stride 32 is as large as the pool of 6 x 6."""
    model, _ = model_of("demo_upernet_maxvit_mini_sample")
    pyramid = model.decode_head.psp_modules
    for _, convolution in pyramid:
        convolution.norm.momentum, convolution.norm.running_var[:] = 0.0, 2.0
        convolution.norm.eval()  # its statistics are of the batch else, which the image alone has not
    expected = copy.deepcopy(pyramid)
    assert exact_batches.attach(model)
    pyramid.training = True
    sizes = [(192, 100), (90, 192), (192, 192)]
    noted(model, sizes, (192, 192))
    canvas, alone = torch.zeros(3, pyramid.in_channels, 6, 6), []
    for item, (h, w) in zip(canvas, sizes, strict=True):
        alone.append(torch.randn(1, pyramid.in_channels, -(-h // 32), -(-w // 32)))
        item[:, : alone[-1].shape[2], : alone[-1].shape[3]] = alone[-1][0]
    for i, one in enumerate(alone):
        for found, context in zip(pyramid(canvas), expected(one), strict=True):
            torch.testing.assert_close(found[i, :, : one.shape[2], : one.shape[3]], context[0])
            assert found[i, :, one.shape[2] :].abs().sum() == 0


def test_norms_behind_pools_take_the_pools_of_all_images():
    model, _ = model_of("demo_upernet_maxvit_mini_sample")
    assert exact_batches.attach(model)
    pyramid = model.decode_head.psp_modules.train()
    noted(model, [(192, 100), (90, 192)], (192, 192))
    inputs = []
    convolution = pyramid[-1][1]
    convolution.conv.register_forward_hook(lambda conv, args, out: inputs.append(out.detach()))
    pyramid(torch.randn(2, pyramid.in_channels, 6, 6))
    mean = inputs[0].mean((0, 2, 3))
    torch.testing.assert_close(convolution.norm.running_mean, convolution.norm.momentum * mean)


def test_a_copy_of_a_model_calls_its_own_layers():
    """The exporter puts other pools into a copy; a moving average of weights is one too."""
    model, _ = model_of("demo_upernet_maxvit_mini_sample")
    assert exact_batches.attach(model)
    pyramid = copy.deepcopy(model).decode_head.psp_modules
    x = torch.randn(1, pyramid.in_channels, 6, 6)
    before = pyramid(x)[0]
    for parameter in pyramid.parameters():
        parameter.data.zero_()
    assert before.abs().sum() > 0 and pyramid(x)[0].abs().sum() == 0


@pytest.mark.parametrize("name", ["demo_retinanet_maxvit_mini_sample", "demo_upernet_maxvit_mini_sample"])
def test_a_copy_of_a_model_predicts_with_its_own_weights(name):
    model, scope = model_of(name)
    assert exact_batches.attach(model)
    twin, wanted = copy.deepcopy(model), predictions(model, scope, SIZES, one_by_one=False)
    same = predictions(twin, scope, SIZES, one_by_one=False)
    for parameter in twin.parameters():
        parameter.data.zero_()
    other = predictions(twin, scope, SIZES, one_by_one=False)
    for a, b in zip(wanted, same, strict=True):
        torch.testing.assert_close(answer(a), answer(b))
    assert not any(torch.equal(answer(a), answer(b)) for a, b in zip(wanted, other, strict=True))


def answer(sample):
    return sample.seg_logits.data if hasattr(sample, "seg_logits") else sample.pred_instances.scores


def test_a_backbone_can_be_told_otherwise():
    cfg = Config.fromfile(str(find("demo_retinanet_maxvit_mini_sample")))
    cfg.model.backbone.exact_batches = False
    init_default_scope("mmdet")
    assert not exact_batches.attach(MODELS.build(cfg.model))
