"""What counts as a difference between an exported program and PyTorch, and what becomes of the files."""

import importlib

import numpy as np
import pytest
import torch

from maxvit_dense.errors import InputError
from maxvit_dense.export import job
from maxvit_dense.export.compare import MEASURES, TOLERANCES
from maxvit_dense.export.formats import Graph, check_packages
from maxvit_dense.runtime import load
from maxvit_dense.runtime.card import Card, read_card

PLAIN = dict(order="rgb", mean=[0, 0, 0], std=[1, 1, 1], resize=dict(rule="keep"))


def objects(boxes, scores, labels, masks=None):
    found = dict(boxes=np.array(boxes, np.float32).reshape(-1, 4), scores=np.array(scores), labels=np.array(labels))
    return found if masks is None else found | dict(masks=np.array(masks, np.float32))


PAIR = objects([[0, 0, 10, 10], [20, 20, 40, 50]], [0.9, 0.5], [1, 2])


@pytest.mark.parametrize(
    ("found", "difference"),
    [
        (PAIR, 0.0),
        (objects([[20, 20, 40, 50], [0, 0, 10, 10]], [0.5, 0.9], [2, 1]), 0.0),  # in another order
        (objects([[0, 0, 10, 10], [20, 20, 40, 50]], [0.8, 0.5], [1, 2]), 0.1),  # less sure
        (objects([[0, 0, 10, 10], [20, 20, 40, 50]], [0.9, 0.5], [0, 2]), 1.0),  # another class
        (objects([[5, 0, 15, 10], [20, 20, 40, 50]], [0.9, 0.5], [1, 2]), 1.0),  # elsewhere
        (objects([[0, 0, 10, 10], [20, 20, 40, 50], [60, 60, 70, 70]], [0.9, 0.5, 0.8], [1, 2, 1]), 1.0),  # one more
        (objects([], [], []), 1.0),
    ],
)
def test_every_object_must_have_its_like(found, difference):
    assert MEASURES["detection"](found, PAIR, "fp32") == pytest.approx(difference)


def test_rounding_may_change_one_object_of_several():
    less_sure = objects([[0, 0, 10, 10], [20, 20, 40, 50]], [0.8, 0.5], [1, 2])
    for precision in ("bf16", "int8"):
        assert MEASURES["detection"](less_sure, PAIR, precision) == pytest.approx(0.05)
        assert MEASURES["detection"](objects([], [], []), PAIR, precision) == 1.0
        assert MEASURES["detection"](objects([], [], []), objects([], [], []), precision) == 0.0


def test_int8_is_compared_on_pixels_of_its_calibration_images():
    image = np.random.default_rng(0).normal(size=(3, 50, 40)).astype(np.float32)
    shown = job.example_inputs((100, 20), ["image"], image)["image"]
    np.testing.assert_array_equal(shown, image.repeat(2, 1)[None, :, :, ::2])


def test_the_last_object_of_a_cut_list_may_differ():
    longer = objects([[0, 0, 10, 10], [50, 50, 60, 60]], [0.9, 0.5], [1, 1])
    assert MEASURES["detection"](longer, PAIR, "fp32") == 0.0


def test_masks_belong_to_the_objects():
    box = ([[0, 0, 10, 10], [0, 0, 30, 30]], [0.9, 0.5], [1, 1])
    inside, outside = np.ones((2, 4, 4)), np.zeros((2, 4, 4))
    assert MEASURES["detection"](objects(*box, inside), objects(*box, inside), "fp32") == 0.0
    assert MEASURES["detection"](objects(*box, outside), objects(*box, inside), "fp32") == 1.0


class Doubled(torch.nn.Module):
    def forward(self, image):
        return 2 * image


class Exportable:
    graph = Graph(Doubled(), dict(image=torch.randn(1, 3, 40, 50)), ["stride1"])
    card = Card("features", "doubled", [], "fp32", ["stride1"], PLAIN)

    def __init__(self, factor):
        self.reference = lambda inputs: dict(stride1=factor * inputs["image"])


@pytest.fixture()
def needs_free_sizes():
    pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")


def test_a_program_that_differs_leaves_nothing_behind(tmp_path, needs_free_sizes):
    for factor in (2.001, float("nan")):
        with pytest.raises(job.Differs, match="224x224 .* allowed 1e-04"):
            job.export(Exportable(factor), "torch", tmp_path / "out")
        assert not list(tmp_path.iterdir())


def test_an_equal_program_is_written_with_its_card(tmp_path, needs_free_sizes):
    comparison = job.export(Exportable(2), "torch", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.pt2"]
    card = read_card(tmp_path / "out" / "model.pt2")
    assert card.comparison == comparison and torch.__version__.startswith(card.versions["torch"])
    assert list(comparison["differences"]) == ["224x224", "97x131", "333x200", "65x33", "320x449"]
    assert comparison["tolerance"] == TOLERANCES["features"]["fp32"]
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    found = load(tmp_path / "out")([image])[0]
    np.testing.assert_array_equal(found["stride1"], 2.0 * image.transpose(2, 0, 1))


def test_earlier_exports_alone_are_replaced(tmp_path):
    job.check_target(tmp_path / "new", force=False)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(b"")
    with pytest.raises(InputError, match="no earlier export"):
        job.check_target(tmp_path / "photos", force=True)
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "model.json").write_text("{}")
    with pytest.raises(InputError, match="--force"):
        job.check_target(tmp_path / "own", force=False)
    job.check_target(tmp_path / "own", force=True)


def test_precisions_belong_to_openvino():
    with pytest.raises(InputError, match="--format openvino|pip install"):
        check_packages("torch", "bf16")


@pytest.mark.parametrize(
    ("missing", "form"), [("nothing", "onnx"), ("onnxscript", "torch"), ("torch.fx.experimental.dynamic_spec", None)]
)
def test_the_demo_exports_what_it_can_run(tmp_path, monkeypatch, missing, form):
    demo, asked = importlib.import_module("tools.demo"), []
    monkeypatch.setattr("tools.export.main", lambda arguments: asked.append(arguments) or 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else object())
    code, model = demo.export_model(tmp_path)
    assert code == 0
    assert model == (tmp_path / f"exported-{form}" if form else tmp_path)
    assert [arguments[1:3] for arguments in asked] == ([["--format", form]] if form else [])
