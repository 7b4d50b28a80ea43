"""The official COCO recipe's losses against their formulas, and steps of the whole detector."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.structures import InstanceData  # noqa: E402
from torch import nn  # noqa: E402

pytestmark = pytest.mark.usefixtures("mmdet_scope")


@pytest.fixture
def batch(small_official_detector):
    """Two 64x64 images with an object each, as the data preprocessor returns them."""
    from mmdet.structures import DetDataSample
    from mmdet.structures.mask import BitmapMasks

    samples = []
    for box in ([8.0, 8.0, 40.0, 40.0], [20.0, 4.0, 60.0, 50.0]):
        sample = DetDataSample(metainfo=dict(img_shape=(64, 64), ori_shape=(64, 64), scale_factor=(1.0, 1.0)))
        mask = np.zeros((1, 64, 64), np.uint8)
        mask[0, int(box[1]) : int(box[3]), int(box[0]) : int(box[2])] = 1
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([box]), labels=torch.tensor([1]), masks=BitmapMasks(mask, 64, 64)
        )
        sample.ignored_instances = InstanceData(bboxes=torch.zeros(0, 4), labels=torch.zeros(0, dtype=torch.long))
        samples.append(sample)
    images = [torch.randint(0, 256, (3, 64, 64), dtype=torch.uint8) for _ in samples]
    return small_official_detector.data_preprocessor(dict(inputs=images, data_samples=samples), training=True)


def huber(difference: float, delta: float) -> float:
    if abs(difference) <= delta:
        return difference**2 / 2
    return delta * (abs(difference) - delta / 2)


@pytest.mark.parametrize(
    "part, delta", [("rpn_head", 1 / 9), ("roi_head.bbox_head.0", 1.0), ("roi_head.bbox_head.1", 1.0)]
)
def test_box_losses_are_huber_over_the_matched_coordinates(official_detector, part, delta):
    loss = official_detector.get_submodule(part).loss_bbox
    difference = torch.linspace(-2, 2, 40).view(10, 4)
    weight = torch.zeros(10, 4)
    weight[:3] = 1
    expected = sum(huber(d, delta) for d in difference[:3].flatten().tolist()) / (12 + 0.01)
    assert loss(difference, torch.zeros(10, 4), weight, avg_factor=512).item() == pytest.approx(expected, rel=1e-5)


def test_a_box_loss_without_matches_is_zero_and_has_a_gradient(official_detector):
    pred = torch.randn(5, 4, requires_grad=True)
    loss = official_detector.rpn_head.loss_bbox(pred, torch.zeros(5, 4), torch.zeros(5, 4), avg_factor=1)
    loss.backward()
    assert loss.item() == 0.0 and pred.grad.abs().max() == 0.0


def test_proposal_scores_are_divided_by_the_regions_of_an_image(official_detector):
    """256 anchors are sampled of each image, and the official sum is divided by 512."""
    logits, labels = torch.randn(256, 1), torch.randint(0, 2, (256,))
    written_out = nn.functional.binary_cross_entropy_with_logits(logits[:, 0], 1.0 - labels, reduction="sum") / 512
    found = official_detector.rpn_head.loss_cls(logits, labels, torch.ones(256), avg_factor=256)
    assert found.item() == pytest.approx(written_out.item(), rel=1e-5)


def test_box_and_class_losses_are_averaged_over_stages_and_masks_are_not(small_official_detector, batch):
    unweighted = {}
    roi_head = small_official_detector.roi_head.train()
    for stage, head in enumerate(roi_head.bbox_head):
        keep_losses(head, unweighted, f"s{stage}.", "loss_bbox")
    keep_losses(roi_head.mask_head[0], unweighted, "s1.", "loss_mask")
    losses = small_official_detector.loss(batch["inputs"], batch["data_samples"])

    names = {name for name in losses if "rpn" not in name and "acc" not in name}
    assert names == {"s0.loss_cls", "s0.loss_bbox", "s1.loss_cls", "s1.loss_bbox", "s1.loss_mask"}
    for name in names:
        share = 1.0 if "mask" in name else 0.5
        assert losses[name].item() == pytest.approx(share * unweighted[name], rel=1e-5), name
        assert unweighted[name] > 0, name


def keep_losses(head: nn.Module, kept: dict, prefix: str, key: str) -> None:
    """Writes down what a head returns as its losses."""
    original = head.loss_and_target

    def kept_losses(*args, **kwargs):
        results = original(*args, **kwargs)
        kept.update({prefix + name: value.detach().item() for name, value in results[key].items()})
        return results

    head.loss_and_target = kept_losses


def test_all_parts_learn(small_official_detector, batch):
    losses = small_official_detector.train().loss(batch["inputs"], batch["data_samples"])
    total, _ = small_official_detector.parse_losses(losses)
    total.backward()
    assert [name for name, p in small_official_detector.named_parameters() if p.grad is None] == []


def test_masks_are_of_the_final_boxes(small_official_detector, batch):
    small_official_detector.eval().test_cfg.rcnn.score_thr = 0.0
    small_official_detector.roi_head.test_cfg.score_thr = 0.0
    with torch.no_grad():
        for sample in small_official_detector.predict(batch["inputs"], batch["data_samples"]):
            found = sample.pred_instances
            assert len(found) > 0
            assert found.masks.shape == (len(found), 64, 64)


def test_an_image_in_which_nothing_is_found_has_no_masks(small_official_detector, batch):
    small_official_detector.eval().roi_head.test_cfg.score_thr = 1.1
    with torch.no_grad():
        for sample in small_official_detector.predict(batch["inputs"], batch["data_samples"]):
            assert sample.pred_instances.masks.shape == (0, 64, 64)
