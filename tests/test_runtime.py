"""What runs exported models: prepares images as the training libraries do, and needs no PyTorch."""

import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from PIL import Image

from maxvit_dense.errors import InputError
from maxvit_dense.runtime import load
from maxvit_dense.runtime.card import FORMAT, Card
from maxvit_dense.runtime.images import fixed_size, prepare, resize_bilinear
from maxvit_dense.runtime.masks import paste_masks

PLAIN = dict(order="rgb", mean=[0, 0, 0], std=[1, 1, 1], resize=dict(rule="keep"))


def noise(height, width, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "target"),
    [((480, 640), (800, 1067)), ((100, 70), (33, 23)), ((7, 9), (50, 3)), ((1, 5), (4, 10)), ((33, 17), (33, 40))],
)
def test_bilinear_resizing_is_opencv_s_to_the_last_bit(size, target):
    cv2 = pytest.importorskip("cv2", reason="needs OpenCV to compare with")
    image = noise(*size)
    assert np.array_equal(resize_bilinear(image, *target), cv2.resize(image, target[::-1]))


@pytest.mark.parametrize("size", [(480, 640), (333, 500), (1400, 300), (20, 30)])
def test_images_are_fitted_and_normalised_as_mmdet_does(size):
    mmcv = pytest.importorskip("mmcv", reason="needs mmcv to compare with")
    image = noise(*size)
    rules = dict(PLAIN, order="bgr", mean=[10, 20, 30], std=[2, 3, 4], resize=dict(rule="fit", short=80, long=133))
    found, shape = prepare(image, rules)
    resized = mmcv.imrescale(np.ascontiguousarray(image[:, :, ::-1]), (133, 80))
    expected = (resized.astype(np.float32) - np.float32([10, 20, 30])) / np.float32([2, 3, 4])
    assert shape == resized.shape[:2]
    assert np.array_equal(found, expected.transpose(2, 0, 1))


@pytest.mark.parametrize("size", [(100, 150), (151, 100), (64, 64), (37, 200)])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_classifiers_images_are_cropped_as_timm_does(size, interpolation):
    data = pytest.importorskip("timm.data", reason="needs timm to compare with")
    image = noise(*size)
    transform = data.create_transform(input_size=64, crop_pct=0.875, interpolation=interpolation, normalize=False)
    rules = dict(PLAIN, resize=dict(rule="crop", size=[64, 64], scale=[73], interpolation=interpolation))
    expected = transform(Image.fromarray(image))
    assert np.array_equal(prepare(image, rules)[0], expected.numpy().astype(np.float32))


def test_padding_is_of_zeros_after_normalisation():
    values, size = prepare(noise(33, 65), dict(PLAIN, mean=[5, 5, 5], pad_multiple=32))
    assert values.shape == (3, 64, 96) and size == (33, 65)
    assert (values[:, 33:] == 0).all() and (values[:, :, 65:] == 0).all()


@pytest.mark.parametrize(
    ("resize", "multiple", "size"),
    [
        (dict(rule="crop", size=[224, 200], scale=[235], interpolation="bicubic"), 1, (224, 200)),
        (dict(rule="stretch", height=100, width=64), 32, (128, 64)),
        (dict(rule="fit", short=80, long=133), 1, None),
        (dict(rule="keep"), 1, None),
    ],
)
def test_the_size_of_all_images_is_known_where_the_rules_fix_it(resize, multiple, size):
    rules = dict(PLAIN, resize=resize, pad_multiple=multiple)
    assert fixed_size(rules) == size
    shapes = {prepare(noise(*shape), rules)[0].shape[1:] for shape in ((70, 90), (50, 120))}
    assert (shapes == {size}) == (size is not None)


def test_masks_are_pasted_as_mmdet_does():
    pytest.importorskip("mmdet", reason="needs mmdet to compare with")
    import maxvit_dense.openmmlab  # noqa: F401  mmcv's operators

    mmdet = pytest.importorskip("mmdet.models")
    from mmengine.config import ConfigDict
    from mmengine.registry import DefaultScope
    from mmengine.structures import InstanceData

    generator = torch.Generator().manual_seed(0)
    masks = torch.rand(20, 1, 28, 28, generator=generator)
    corner = torch.rand(20, 2, generator=generator) * torch.tensor([100.0, 70.0]) - 10
    boxes = torch.cat([corner, corner + 12 + torch.rand(20, 2, generator=generator) * 50], dim=1)
    found = paste_masks(masks[:, 0].numpy(), boxes.numpy(), 70, 100, 0.5)
    with DefaultScope.overwrite_default_scope("mmdet"):
        head = mmdet.FCNMaskHead(num_classes=1)
    head.predict_by_feat(
        [masks],
        [theirs := InstanceData(bboxes=boxes, labels=torch.zeros(20, dtype=torch.int64))],
        [dict(ori_shape=(70, 100), scale_factor=(1.0, 1.0))],
        ConfigDict(mask_thr_binary=-1),  # as shades of 255
        rescale=True,
        activate_map=True,
    )
    shades = theirs.masks.numpy()
    assert np.array_equal(found[shades != 127], (shades > 127)[shades != 127])
    assert found.any()


def test_an_image_of_which_no_pixel_would_be_left_is_refused():
    with pytest.raises(InputError, match="1x3000 pixels would have none left"):
        prepare(noise(3000, 1), PLAIN | dict(resize=dict(rule="fit", short=800, long=1333)))


def test_what_something_else_exported_is_refused(tmp_path):
    with pytest.raises(InputError, match="There is no exported model"):
        load(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="no exported model"):
        load(tmp_path / "net.pth")
    (tmp_path / "net.onnx").write_bytes(b"x")
    with pytest.raises(InputError, match="something else"):
        load(tmp_path / "net.onnx")
    whole = json.loads(Card("features", "n", [], "fp32", ["stride4"], PLAIN).to_json())
    changed = (dict(task="x"), dict(preprocessing={}), dict(classes=None), dict(preprocessing=PLAIN | dict(mean="x")))
    damaged = [json.dumps(whole | change) for change in changed]
    for content in ("{", "[]", json.dumps(dict(format="another")), json.dumps(dict(format=FORMAT, task="x")), *damaged):
        (tmp_path / "net.json").write_text(content)
        with pytest.raises(InputError, match=r"net\.json|card of .*net\.onnx"):
            load(tmp_path / "net.onnx")


@pytest.mark.parametrize(("runtime", "suffix"), [("onnxruntime", "onnx"), ("openvino", "onnx"), ("torch", "pt2")])
def test_a_broken_program_is_one_message(tmp_path, runtime, suffix):
    pytest.importorskip(runtime, reason=f"needs {runtime}")
    path = tmp_path / f"net.{suffix}"
    path.write_bytes(b"no program")
    (tmp_path / "net.json").write_text(Card("features", "n", [], "fp32", ["stride4"], PLAIN).to_json())
    with pytest.raises(InputError, match="cannot read"):
        load(path, runtime)


def test_a_runtime_of_other_files_is_refused(tmp_path):
    (tmp_path / "net.pt2").write_bytes(b"")
    (tmp_path / "net.json").write_text(Card("features", "n", [], "fp32", ["stride4"], PLAIN).to_json())
    with pytest.raises(InputError, match="No runtime 'tensorrt'"):
        load(tmp_path / "net.pt2", "tensorrt")
    with pytest.raises(InputError, match="onnxruntime runs .onnx files, not net.pt2. Give --runtime torch"):
        load(tmp_path / "net.pt2", "onnxruntime")


def run_without_torch(code: str, *arguments: str) -> subprocess.CompletedProcess:
    blocked = "import sys\nfor name in ('torch', 'torchvision', 'timm', 'mmengine', 'cv2'): sys.modules[name] = None\n"
    command = [sys.executable, "-c", blocked + textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_the_runtime_is_imported_where_there_is_no_torch():
    done = run_without_torch("import maxvit_dense.runtime; print(callable(maxvit_dense.runtime.load))")
    assert done.stdout == "True\n", done.stderr
    done = run_without_torch("import maxvit_dense; maxvit_dense.variants")
    assert "need PyTorch and timm" in done.stderr


DETECTED = dict(boxes=np.float32([[1, 2, 9, 8]]), scores=np.float32([0.9]), labels=np.array([2]))


@pytest.mark.parametrize(
    ("task", "gives"),
    [
        ("detection", DETECTED),
        ("segmentation", dict(labels=np.full((1, 20, 30), 2))),
        ("classification", dict(scores=np.float32([[0.2, 0.3, 0.5]]))),
    ],
)
@pytest.mark.parametrize("fault", ["classes", "outputs", None])
def test_a_card_that_does_not_fit_its_program_is_told(tmp_path, monkeypatch, task, gives, fault):
    monkeypatch.setattr("maxvit_dense.runtime.model.open_program", lambda *args: lambda inputs: list(gives.values()))
    names = ["a", "b"] if fault == "classes" else ["a", "b", "c"]
    outputs = ["maps"] * len(gives) if fault == "outputs" else list(gives)
    (tmp_path / "model.onnx").touch()
    (tmp_path / "model.json").write_text(Card(task, "made up", names, "fp32", outputs, PLAIN).to_json())
    if fault == "outputs":
        with pytest.raises(InputError, match=r"The card of .* names no .*(labels|scores).* among its outputs"):
            load(tmp_path)
        return
    model = load(tmp_path)
    if fault == "classes":
        with pytest.raises(InputError, match="The card names 2 classes, its program knows more"):
            model([noise(20, 30)])
    else:
        assert set(model([noise(20, 30)])[0]) == set(gives)
