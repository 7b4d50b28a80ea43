"""Scenes of the sample data set as they are drawn: shapes in sight, and polygons that decode to their masks."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from maxvit_dense import sample_data as sd


@pytest.fixture(scope="module")
def scenes():
    sizes = ((160, 160), (128, 192), (97, 61), (32, 32))
    return [sd.draw_scene(np.random.default_rng([7, i]), *sizes[i % len(sizes)]) for i in range(80)]


def decode(polygons, height, width):
    """As pycocotools and mmdet's LoadAnnotations do it."""
    return coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))).astype(bool)


# Scenes


def test_visible_masks_do_not_overlap_and_agree_with_the_semantic_map(scenes):
    for scene in scenes:
        owners = sum(instance.mask.astype(int) for instance in scene.instances)
        assert owners.max() == 1
        assert np.array_equal(owners == 1, (scene.semantic > 0) & (scene.semantic <= len(sd.CLASSES)))
        for instance in scene.instances:
            assert (scene.semantic[instance.mask] == instance.label + 1).all()


def test_every_scene_has_one_to_five_shapes_with_enough_in_sight(scenes):
    counts = [len(scene.instances) for scene in scenes]
    assert set(counts) == {1, 2, 3, 4, 5}
    shares = [instance.visible_share for scene in scenes for instance in scene.instances]
    assert min(shares) >= sd.MIN_VISIBLE
    assert min(shares) < 0.7  # occlusion does happen


def test_visible_share_is_that_of_the_whole_shape():
    scene = sd.draw_single(np.random.default_rng(0), 200, 150, sd.CLASSES.index("circle"))
    (instance,) = scene.instances
    _, _, width, height = instance.box
    assert abs(width - height) <= 1
    assert instance.mask.sum() == pytest.approx(np.pi / 4 * width * height, rel=0.03)
    assert instance.visible_share == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", sd.CLASSES)
def test_single_pictures_show_the_one_shape_whole(name):
    for seed in range(10):
        scene = sd.draw_single(np.random.default_rng(seed), 90, 120, sd.CLASSES.index(name))
        (instance,) = scene.instances
        assert sd.CLASSES[instance.label] == name
        assert instance.visible_share == pytest.approx(1, abs=0.05)


def test_shapes_stand_out_from_what_surrounds_them(scenes):
    distances = []
    for scene in scenes:
        ground = (scene.semantic == 0) | (scene.semantic > len(sd.CLASSES))
        for instance in scene.instances:
            left, top, width, height = instance.box
            around = np.zeros_like(ground)
            around[max(0, top - 4) : top + height + 4, max(0, left - 4) : left + width + 4] = True
            around &= ground
            if around.sum() > 20:
                inside = scene.image[instance.mask].mean(axis=0)
                distances.append(np.linalg.norm(inside - scene.image[around].mean(axis=0)))
    assert len(distances) > 100
    # Two grounds may meet around a shape and light dims the picture: the mean lies nearer than MIN_CONTRAST.
    assert min(distances) > 0.4 * sd.MIN_CONTRAST
    assert np.median(distances) > sd.MIN_CONTRAST


def test_colour_does_not_tell_the_class():
    means = np.zeros((len(sd.CLASSES), 60, 3))
    for label in range(len(sd.CLASSES)):
        for i in range(means.shape[1]):
            scene = sd.draw_single(np.random.default_rng([label, i]), 48, 48, label)
            means[label, i] = scene.image[scene.instances[0].mask].mean(axis=0)
    between = means.mean(axis=1).std(axis=0)
    within = means.std(axis=1).mean(axis=0)
    # Means of 60 pictures scatter by within / sqrt(60); four times that would be a class with a colour.
    assert (between < 4 * within / np.sqrt(means.shape[1])).all()
    assert (within > 25).all()


# Polygons


@settings(max_examples=300, deadline=None)
@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)))
def test_polygons_decode_to_exactly_the_mask(mask):
    polygons = sd.mask_to_polygons(mask)
    if not mask.any():
        assert polygons == []
        return
    assert np.array_equal(decode(polygons, *mask.shape), mask)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(32, 200), st.integers(32, 200))
def test_polygons_of_drawn_masks_decode_to_exactly_the_mask(seed, height, width):
    scene = sd.draw_scene(np.random.default_rng(seed), height, width)
    assert scene.instances
    for instance in scene.instances:
        assert np.array_equal(decode(sd.mask_to_polygons(instance.mask), height, width), instance.mask)


def test_a_ring_is_cut_into_polygons_without_holes():
    mask = np.ones((5, 7), dtype=bool)
    mask[1:4, 2:5] = False
    polygons = sd.mask_to_polygons(mask)
    assert len(polygons) == 2
    areas = [decode([polygon], 5, 7).sum() for polygon in polygons]
    assert sum(areas) == mask.sum()
