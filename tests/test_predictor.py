"""load: a checkpoint of each task called with images; the result against the model's own test_step."""

import numpy as np
import pytest
import torch

pytest.importorskip("mmdet")

from mmengine.config import Config  # noqa: E402
from mmengine.dataset import Compose, pseudo_collate  # noqa: E402
from mmengine.registry import DefaultScope  # noqa: E402
from PIL import Image  # noqa: E402

import maxvit_dense.openmmlab  # noqa: E402
from maxvit_dense.config_names import find_config  # noqa: E402
from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.inference.run_facts import mask_values  # noqa: E402
from tests.predictors import GROUND, SHAPES, write_images, write_run  # noqa: E402


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return {task: write_run(folder / task, task) for task in ("detector", "segmentor", "classifier")}


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("images"))


def test_a_detector_finds_what_its_own_test_pipeline_finds(runs, images):
    predictor = maxvit_dense.openmmlab.load(runs["detector"], device="cpu", batch=3)
    assert (predictor.task, predictor.classes) == ("detection", SHAPES)
    found = predictor(images)
    cfg = Config.fromfile(runs["detector"] / "run.py")
    keys = ("ori_shape", "img_shape", "scale_factor")
    steps = [cfg.test_pipeline[0], cfg.test_pipeline[1], dict(type="PackDetInputs", meta_keys=keys)]
    for path, result in zip(images, found, strict=True):
        with DefaultScope.overwrite_default_scope("mmdet"), torch.no_grad():
            data = pseudo_collate([Compose(steps)(dict(img_path=str(path)))])
            wanted = predictor.model.test_step(data)[0].pred_instances
        assert len(wanted) > 5 and np.all(np.diff(result["scores"]) <= 0)
        # Random weights are nearly as sure of many boxes: rounding, other in a batch, may suppress one more or less.
        apart = np.abs(result["boxes"][:, None] - wanted.bboxes.numpy()).max(axis=2)
        apart += 1e3 * np.abs(result["scores"][:, None] - wanted.scores.numpy())
        apart[result["labels"][:, None] != wanted.labels.numpy()] = np.inf
        assert np.mean(apart.min(axis=1) < 0.05) > 0.96 and np.mean(apart.min(axis=0) < 0.05) > 0.96
        width, height = Image.open(path).size
        assert result["masks"].shape == (len(result["scores"]), height, width) and result["masks"].dtype == bool


def test_a_segmentor_labels_each_pixel_of_images_of_any_size(runs, images):
    predictor = maxvit_dense.openmmlab.load(runs["segmentor"], device="cpu", batch=3)
    together, alone = predictor(images), [predictor(path)[0] for path in images]
    for path, one, other in zip(images, together, alone, strict=True):
        assert one["labels"].shape == Image.open(path).size[::-1]
        assert one["labels"].max() < len(SHAPES)
        assert np.mean(one["labels"] == other["labels"]) > 0.999


def test_a_classifier_gives_probabilities(runs, images):
    predictor = maxvit_dense.openmmlab.load(runs["classifier"], device="cpu", batch=2)
    scores = np.stack([result["scores"] for result in predictor(images)])
    assert scores.shape == (3, len(SHAPES))
    np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_arrays_are_rgb(runs, images):
    predictor = maxvit_dense.openmmlab.load(runs["classifier"], device="cpu")
    array = np.asarray(Image.open(images[0]).convert("RGB"))
    by_path, by_array, swapped = (predictor(image)[0]["scores"] for image in (images[0], array, array[..., ::-1]))
    np.testing.assert_array_equal(by_path, by_array)
    assert np.abs(by_path - swapped).max() > 1e-6


def test_augmented_views_are_merged(runs, images):
    for task, key in (("detector", "boxes"), ("segmentor", "labels")):
        plain, merged = (maxvit_dense.openmmlab.load(runs[task], device="cpu", tta=tta)(images[1])[0] for tta in (0, 1))
        assert not np.array_equal(plain[key], merged[key])
        assert plain[key].shape[1:] == merged[key].shape[1:]


def test_classes_are_the_checkpoints_own(runs, tmp_path, images):
    """The config by name is of six shapes, the checkpoint of three others."""
    run = write_run(tmp_path / "own", "segmentor", GROUND, dict(mask_values=[3, 7, 9]))
    name = "demo_upernet_maxvit_mini_sample"
    predictor = maxvit_dense.openmmlab.load(name, run / "weights.pth", device="cpu")
    assert predictor.classes == GROUND and predictor.mask_values == [3, 7, 9]
    of_run = maxvit_dense.openmmlab.load(run, device="cpu")
    np.testing.assert_array_equal(predictor(images[0])[0]["labels"], of_run(images[0])[0]["labels"])


def test_values_of_masks_follow_the_training_data():
    ade = Config.fromfile(find_config("upernet_maxvit_t_ade20k"))
    assert mask_values(ade) == list(range(1, 151))  # 0 is unlabelled
    assert mask_values(Config.fromfile(find_config("maskrcnn_maxvit_t_coco"))) is None
    ade.train_dataloader.dataset = dict(type="BaseSegDataset", metainfo=dict(classes=GROUND))
    assert mask_values(ade) == [0, 1, 2]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("detector", "segmentor/weights.pth"), "checkpoint of another model"),
        (("empty",), "no work dir with a last_checkpoint"),
        (("empty", "detector/weights.pth"), "holds no config"),
        (("nothing.py", "detector/weights.pth"), "There is no config"),
        (("detector", "nothing.pth"), "There is no checkpoint file"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_message(runs, arguments, said):
    (runs["detector"].parent / "empty").mkdir(exist_ok=True)
    with pytest.raises(InputError, match=said):
        maxvit_dense.openmmlab.load(*(runs["detector"].parent / part for part in arguments), device="cpu")


def test_a_device_that_is_not_there_is_refused(runs):
    with pytest.raises(InputError, match="--device tpu7 cannot be used"):
        maxvit_dense.openmmlab.load(runs["detector"], device="tpu7")


def test_objects_that_are_not_wanted_are_not_looked_for_and_the_others_stay(runs, images):
    full = maxvit_dense.openmmlab.load(runs["detector"], device="cpu")(images[0])[0]
    least = float(np.median(full["scores"]))
    sure = maxvit_dense.openmmlab.load(runs["detector"], device="cpu", score=least)(images[0])[0]
    wanted = full["scores"] >= least
    assert 0 < wanted.sum() < len(wanted)
    for key, value in full.items():
        np.testing.assert_allclose(sure[key], value[wanted], rtol=1e-4, atol=1e-3)


def test_images_that_cannot_be_resized_or_held_are_refused(runs, monkeypatch):
    predictor = maxvit_dense.openmmlab.load(runs["detector"], device="cpu")
    with pytest.raises(InputError, match="1x3000 pixels cannot be resized"):
        predictor(np.zeros((3000, 1, 3), np.uint8))

    def no_memory(data):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(predictor.model, "test_step", no_memory)
    with pytest.raises(InputError, match="Give --tile 1024"):
        predictor(np.zeros((64, 64, 3), np.uint8))


def test_what_is_no_image_is_refused(runs):
    predictor = maxvit_dense.openmmlab.load(runs["classifier"], device="cpu")
    image = np.zeros((8, 8, 3), np.uint8)
    for given in (image[..., 0], image[..., :2], image.astype(float), image[:0], 7):
        with pytest.raises(InputError, match="Image 1 (is|has no pixels)"):
            predictor([image, given])
