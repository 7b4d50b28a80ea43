"""What cannot work is refused where a network is built, and images that are none where it is called."""

import math

import numpy as np
import pytest
import timm
import torch

import maxvit_dense  # noqa: F401


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_classes", -1),
        ("num_classes", 1.5),
        ("num_classes", "ten"),
        ("num_classes", True),
        ("in_chans", 0),
        ("in_chans", -3),
        ("drop_path_rate", math.nan),
        ("drop_path_rate", 2),
        ("drop_path_rate", -1),
        ("drop_path_rate", "a"),
        ("drop_rate", math.nan),
        ("drop_rate", 1.5),
    ],
)
def test_a_network_that_cannot_work_is_not_built(name, value):
    with pytest.raises(ValueError, match=rf"{name}={value!r}: give a "):
        timm.create_model("maxvit_mini", **{name: value})


def test_numbers_of_numpy_are_numbers():
    network = timm.create_model("maxvit_mini", num_classes=np.int64(3), drop_path_rate=np.float32(0.1))
    assert network.num_classes == 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("arch", None),
        ("arch", 5),
        ("out_indices", 2),
        ("out_indices", ()),
        ("init_cfg", "in1k"),
        ("init_cfg", 5),
        ("norm_eval", "x"),
        ("exact_batches", "x"),
    ],
)
def test_a_backbone_that_cannot_work_is_not_built(name, value):
    pytest.importorskip("mmengine")
    from maxvit_dense.openmmlab import MaxViT

    with pytest.raises(ValueError, match=f"{name}="):
        MaxViT(**{"arch": "mini", name: value})


@pytest.mark.parametrize(
    ("images", "words"),
    [
        ([torch.zeros(1, 3, 8, 8)], "images as list"),
        (np.zeros((1, 3, 8, 8)), "images as ndarray"),
        (None, "images as NoneType"),
        ("cat.jpg", "images as str"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"images of torch\.uint8: .*floating point"),
    ],
)
@pytest.mark.parametrize("features_only", [False, True])
def test_images_that_are_none_are_named(images, words, features_only):
    network = timm.create_model("maxvit_mini", features_only=features_only)
    with pytest.raises(TypeError, match=words):
        network(images)
