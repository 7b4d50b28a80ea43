"""The official COCO recipe's input, network, sampling and schedules, compared with the values its sources publish.

Numbers stand here as tensorflow/models official/projects/maxvit and official/vision have them; docs/official_recipe.md
names the file of each. Losses and a step of the whole are in test_official_losses.py.
"""

import math

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import HOOKS, MODELS, PARAM_SCHEDULERS, TRANSFORMS  # noqa: E402
from mmengine.structures import InstanceData  # noqa: E402
from torch import nn  # noqa: E402

from tests.official_recipe import PUBLISHED, official  # noqa: E402

pytestmark = pytest.mark.usefixtures("mmdet_scope")

STRIDES = (8, 16, 32, 64, 128)


@pytest.fixture(scope="module")
def cfg() -> Config:
    return official("t_896")


# --- input


@pytest.mark.parametrize("size", PUBLISHED)
def test_one_window_covers_the_stride_32_map_of_the_square(size):
    cfg, side = official(size), PUBLISHED[size][0]
    assert cfg.model.backbone.window_size == side // 32
    assert cfg.model.data_preprocessor.pad_size_divisor == side


def test_the_built_backbone_has_that_window_and_the_trained_table(official_detector):
    net = official_detector.backbone.net
    assert net.window_size == (28, 28)
    tables = [p for name, p in net.named_parameters() if name.endswith("relative_position_bias_table")]
    assert {tuple(table.shape[1:]) for table in tables} == {(13, 13)}  # resized to 55x55 in the forward pass


@pytest.mark.parametrize("size", PUBLISHED)
def test_scale_jitter_is_a_tenth_to_two_and_a_half_squares(size):
    pipeline, side = official(size).train_dataloader.dataset.pipeline, PUBLISHED[size][0]
    resize = TRANSFORMS.build(next(step for step in pipeline if step.type == "RandomResize"))
    np.random.seed(0)
    scales = np.array([resize(dict(img=np.zeros((2, 2, 3), np.uint8)))["scale"] for _ in range(500)])
    assert (scales[:, 0] == scales[:, 1]).all()
    assert scales.min() >= int(0.1 * side) and scales.max() <= 2.5 * side
    assert scales.min() < 0.15 * side and scales.max() > 2.4 * side
    assert scales.mean() == pytest.approx(1.3 * side, rel=0.1)  # uniform


def test_an_image_is_flipped_resized_cropped_to_the_square_and_stripped_of_crowds(cfg):
    from mmdet.structures.bbox import HorizontalBoxes
    from mmdet.structures.mask import BitmapMasks
    from mmengine.dataset import Compose

    steps = [TRANSFORMS.build(step) for step in cfg.train_dataloader.dataset.pipeline[2:]]
    assert steps[0].prob == 0.5
    np.random.seed(0)
    for _ in range(20):
        results = dict(
            img=np.zeros((300, 500, 3), np.uint8),
            img_shape=(300, 500),
            ori_shape=(300, 500),
            gt_bboxes=HorizontalBoxes(np.array([[10, 10, 490, 290], [0, 0, 500, 300]], np.float32)),
            gt_bboxes_labels=np.array([3, 4]),
            gt_ignore_flags=np.array([False, True]),
            gt_masks=BitmapMasks(np.ones((2, 300, 500), np.uint8), 300, 500),
        )
        packed = Compose(steps)(results)
        height, width = packed["inputs"].shape[1:]
        assert max(height, width) <= 896
        sample = packed["data_samples"]
        assert sample.gt_instances.labels.tolist() in ([3], [])
        assert len(sample.ignored_instances) == 0


def test_the_batch_is_padded_to_the_square_with_the_mean_colour(official_detector):
    from mmdet.structures import DetDataSample

    blue_green_red = torch.tensor([103.53, 116.28, 123.675]).view(3, 1, 1)
    sample = DetDataSample(metainfo=dict(img_shape=(50, 80)), gt_instances=InstanceData())
    data = dict(inputs=[blue_green_red.expand(3, 50, 80)], data_samples=[sample])
    for training in (True, False):
        inputs = official_detector.data_preprocessor(data, training)["inputs"]
        assert inputs.shape == (1, 3, 896, 896)
        assert inputs.abs().max() < 1e-4


def instances(number: int, crowds: tuple[int, ...] = ()) -> dict:
    flags = np.zeros(number, bool)
    flags[list(crowds)] = True
    boxes = np.tile(np.arange(number, dtype=np.float32)[:, None], 4)
    return dict(gt_bboxes=boxes, gt_bboxes_labels=np.arange(number), gt_ignore_flags=flags)


def test_the_first_hundred_instances_stay_and_crowds_do_not_count():
    limit = TRANSFORMS.build(dict(type="LimitInstances", max_instances=100))
    results = limit(instances(130, crowds=(0, 50)))
    expected = [i for i in range(130) if i not in (0, 50)][:100]
    assert results["gt_bboxes_labels"].tolist() == expected
    assert results["gt_bboxes"][:, 0].tolist() == expected
    assert not results["gt_ignore_flags"].any()


def test_every_official_config_keeps_a_hundred(cfg):
    assert [s.max_instances for s in cfg.train_dataloader.dataset.pipeline if s.type == "LimitInstances"] == [100]


def test_images_without_objects_are_trained_on(cfg):
    assert cfg.train_dataloader.dataset.filter_cfg.filter_empty_gt is False


# --- network


def test_the_pyramid_has_strides_8_to_128_and_256_channels(official_detector):
    official_detector.eval()
    with torch.no_grad():
        maps = official_detector.extract_feat(torch.zeros(1, 3, 128, 128))
    assert [tuple(m.shape[1:]) for m in maps] == [(256, 128 // stride, 128 // stride) for stride in STRIDES]


def test_norms_of_neck_and_heads_are_as_tensorflows_and_synced(official_detector):
    norms = [
        (name, module)
        for name, module in official_detector.named_modules()
        if hasattr(module, "running_mean") and not name.startswith("backbone")
    ]
    # 5 levels of the neck, 2 convolutions x 5 levels of the RPN, 2 x (4 + 1) of the boxes, 4 + 1 of the masks
    assert len(norms) == 5 + 10 + 10 + 5
    for name, norm in norms:
        assert isinstance(norm, nn.SyncBatchNorm) and (norm.eps, norm.momentum) == (1e-3, 0.01), name


def test_anchors_are_three_strides_times_three_octave_scales_at_three_ratios(official_detector):
    generator = official_detector.rpn_head.prior_generator
    levels = generator.grid_priors([(896 // s, 896 // s) for s in STRIDES], device="cpu")
    for stride, anchors in zip(STRIDES, levels, strict=True):
        assert len(anchors) == 9 * (896 // stride) ** 2
        sizes = [3.0 * stride * 2 ** (octave / 3) for octave in range(3)]
        expected = sorted((size * r**0.5, size / r**0.5) for size in sizes for r in (0.5, 1.0, 2.0))
        first = anchors[:9]
        widths, heights = first[:, 2] - first[:, 0], first[:, 3] - first[:, 1]
        found = sorted(zip(widths.tolist(), heights.tolist(), strict=True))
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        np.testing.assert_allclose((first[:, :2] + first[:, 2:]).numpy() / 2, stride / 2, atol=1e-3)


def test_the_rpn_shares_two_convolutions_and_norms_each_level_by_itself(small_official_detector):
    head = small_official_detector.rpn_head.train()
    assert len(head.rpn_conv) == 2
    maps = [torch.randn(2, 64, 8, 8) for _ in STRIDES]
    before = {name: buffer.clone() for name, buffer in head.named_buffers() if name.endswith("running_mean")}
    head.forward(maps[:1])
    changed = {name for name, buffer in head.named_buffers() if name in before and not buffer.equal(before[name])}
    assert changed == {"rpn_norms.0.0.running_mean", "rpn_norms.0.1.running_mean"}


def test_two_class_agnostic_box_heads_of_four_convolutions_and_one_layer(official_detector):
    heads = official_detector.roi_head.bbox_head
    assert len(heads) == official_detector.roi_head.num_stages == 2
    for head, stds in zip(heads, ((0.1, 0.1, 0.2, 0.2), (0.05, 0.05, 0.1, 0.1)), strict=True):
        assert (len(head.shared_convs), len(head.shared_fcs)) == (4, 1)
        assert head.fc_reg.out_features == 4
        assert head.fc_cls.out_features == 81
        assert head.fc_cls.in_features == 1024
        assert tuple(head.bbox_coder.stds) == stds


def test_one_mask_head_of_four_convolutions_serves_both_stages(official_detector):
    roi_head = official_detector.roi_head
    assert len(roi_head.mask_head) == len(roi_head.mask_roi_extractor) == 1
    assert len(roi_head.mask_head[0].convs) == 4
    logits = roi_head.eval().mask_head[0](torch.zeros(1, 256, 14, 14))
    assert logits.shape == (1, 80, 28, 28)


@pytest.mark.parametrize("pixels, level", [(40, 0), (223, 0), (225, 1), (449, 2), (897, 3), (3000, 4)])
def test_regions_go_to_the_level_of_the_feature_pyramid_paper_from_stride_8_up(official_detector, pixels, level):
    """224 pixels belong to stride 16, and one octave is one level."""
    box = torch.tensor([[0.0, 0.0, 0.0, pixels, pixels]])
    for extractor in (*official_detector.roi_head.bbox_roi_extractor, *official_detector.roi_head.mask_roi_extractor):
        assert extractor.map_roi_levels(box, len(STRIDES)).tolist() == [level]
        assert extractor.featmap_strides == list(STRIDES)


# --- sampling


def boxes_of_iou(ious: list[float]) -> torch.Tensor:
    """Boxes inside the square (0, 0, 100, 100) that overlap it to these shares."""
    return torch.tensor([[0.0, 0.0, 100.0, 100.0 * iou] for iou in ious])


def assign(assigner, boxes: torch.Tensor) -> list[int]:
    truth = InstanceData(bboxes=torch.tensor([[0.0, 0.0, 100.0, 100.0]]), labels=torch.tensor([0]))
    return assigner.assign(InstanceData(priors=boxes), truth).gt_inds.tolist()


def test_cascade_stages_take_objects_from_iou_06_and_07(official_detector):
    first, second = official_detector.roi_head.bbox_assigner
    boxes = boxes_of_iou([0.45, 0.55, 0.61, 0.69, 0.71])
    assert assign(first, boxes) == [0, -1, 1, 1, 1]  # background, neither, object
    assert assign(second, boxes) == [0, 0, 0, 0, 1]


def test_proposals_take_objects_from_iou_07_and_background_below_03(official_detector):
    # The best one is an object whatever its overlap; here that is the last.
    assert assign(official_detector.rpn_head.assigner, boxes_of_iou([0.29, 0.31, 0.69, 0.71, 0.9])) == [0, -1, -1, 1, 1]
    assert assign(official_detector.rpn_head.assigner, boxes_of_iou([0.01, 0.02, 0.02])) == [0, 1, 0]


def test_samples_of_an_image(official_detector):
    rpn, (first, second) = official_detector.rpn_head.sampler, official_detector.roi_head.bbox_sampler
    assert (rpn.num, rpn.pos_fraction) == (256, 0.5)
    assert (first.num, first.pos_fraction, first.add_gt_as_proposals) == (512, 0.25, True)
    assert (second.num, second.pos_fraction) == (512, 1.0)  # no sampling anew


def test_proposals_and_detections_kept(cfg):
    train, test = cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn
    assert (train.nms_pre, train.max_per_img, train.nms.iou_threshold) == (2000, 1000, 0.7)
    assert (test.nms_pre, test.max_per_img, test.nms.iou_threshold) == (1000, 1000, 0.7)
    rcnn = cfg.model.test_cfg.rcnn
    assert (rcnn.score_thr, rcnn.nms.iou_threshold, rcnn.max_per_img) == (0.05, 0.5, 100)


# --- optimization


@pytest.mark.parametrize("size", PUBLISHED)
def test_optimizer_decay_and_stochastic_depth_of_each_size(size):
    _, lr, decay, survival, _, steps = PUBLISHED[size]
    cfg = official(size)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.weight_decay) == ("AdamW", lr, decay)
    assert (tuple(optimizer.betas), optimizer.eps) == ((0.9, 0.999), 1e-7)
    assert cfg.model.backbone.drop_path_rate == pytest.approx(1 - survival)
    assert cfg.train_cfg.max_iters == steps
    assert cfg.auto_scale_lr.base_batch_size == 256


def test_every_parameter_decays_at_one_rate(cfg, official_detector):
    groups = build_optim_wrapper(official_detector, cfg.optim_wrapper).optimizer.param_groups
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(1e-3, 0.05)}
    assert sum(len(group["params"]) for group in groups) == len(list(official_detector.parameters()))


def test_gradients_are_clipped_to_a_norm_of_one(cfg):
    layer = nn.Linear(3, 2)
    wrapper = build_optim_wrapper(layer, cfg.optim_wrapper)
    wrapper.backward(1e4 * layer(torch.ones(1, 3)).sum())
    wrapper.step()
    norm = torch.cat([p.grad.flatten() for p in layer.parameters()]).norm()
    assert norm.item() == pytest.approx(1.0, rel=1e-4)


def published_rate(step: int, peak: float, cosine_steps: int) -> float:
    """Keras' CosineDecay with alpha .03, under a line from 0 to its value at step 6000."""

    def cosine(t):
        return peak * (0.97 * 0.5 * (1 + math.cos(math.pi * min(t, cosine_steps) / cosine_steps)) + 0.03)

    return cosine(step) if step >= 6000 else cosine(6000) * step / 6000


@pytest.mark.parametrize("size", PUBLISHED)
def test_learning_rate_at_chosen_steps(size):
    _, peak, _, _, cosine_steps, steps = PUBLISHED[size]
    cfg = official(size)
    wrapper = build_optim_wrapper(nn.Linear(1, 1), cfg.optim_wrapper)
    (schedule,) = [PARAM_SCHEDULERS.build(dict(s), default_args=dict(optimizer=wrapper)) for s in cfg.param_scheduler]
    chosen = {0, 1, 3000, 5999, 6000, 6001, steps // 2, steps - 1}
    for step in range(steps):
        if step in chosen:
            expected = published_rate(step, peak, cosine_steps)
            assert wrapper.param_groups[0]["lr"] == pytest.approx(expected, rel=1e-9), step
        wrapper.step()
        schedule.step()


@pytest.mark.parametrize("wrong", [dict(warmup_steps=100), dict(floor=1.5), dict(by_epoch=True)])
def test_a_schedule_that_makes_no_sense_is_refused(wrong):
    wrapper = build_optim_wrapper(nn.Linear(1, 1), dict(optimizer=dict(type="SGD", lr=1.0)))
    schedule = dict(type="WarmupCosineLR", decay_steps=100, warmup_steps=10, floor=0.0) | wrong
    with pytest.raises(ValueError, match="WarmupCosineLR"):
        PARAM_SCHEDULERS.build(schedule, default_args=dict(optimizer=wrapper))


def test_a_limit_below_one_instance_is_refused():
    with pytest.raises(ValueError, match="max_instances"):
        TRANSFORMS.build(dict(type="LimitInstances", max_instances=0))


class Counter(nn.Module):
    """A weight and a statistic that a test can set."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.register_buffer("mean", torch.zeros(1))


def averaged(cfg: Config):
    (entry,) = [dict(entry) for entry in cfg.custom_hooks if entry["type"] == "EMAHook"]
    entry.pop("priority")  # as the Runner does
    return MODELS.build(HOOKS.build(entry).ema_cfg, default_args=dict(model=Counter()))


def set_to(value: float) -> Counter:
    source = Counter()
    source.weight.data.fill_(value)
    source.mean.fill_(value)
    return source


def test_the_average_keeps_9998_of_10000_of_weights_and_statistics(cfg):
    average = averaged(cfg)
    average.update_parameters(set_to(0.0))
    average.steps.fill_(80_000)
    average.update_parameters(set_to(1.0))
    assert average.module.weight.item() == pytest.approx(0.0002, rel=1e-3)
    assert average.module.mean.item() == pytest.approx(0.0002, rel=1e-3)


def test_the_average_forgets_faster_at_first(cfg):
    """Official: (1 + n) / (10 + n) of the average stays at step n."""
    average = averaged(cfg)
    average.update_parameters(set_to(0.0))
    average.steps.fill_(90)
    average.update_parameters(set_to(1.0))
    assert average.module.weight.item() == pytest.approx(1 - (1 + 90) / (10 + 90), rel=0.02)
