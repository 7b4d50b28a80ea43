"""`maxvit-dense export` of each family, compared with PyTorch and run without it."""

import importlib
import json
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from maxvit_dense.config_names import find_config
from maxvit_dense.openmmlab.config.load import build_model
from maxvit_dense.runtime import load
from tests.networks import fill_with_noise

command = importlib.import_module("tools.export").main
predict = importlib.import_module("tools.predict").main

pytest.importorskip("torch.fx.experimental.dynamic_spec", reason="needs PyTorch 2.14's ShapesSpec")
for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"needs {package} (requirements/clients.txt)")

CLASSES = [f"class{i}" for i in range(10)]
VALUES = [10 * (i + 1) for i in range(10)]  # of classes in the masks of the training data
# The demos with as little as leaves every kind of part: exporting takes seconds a block.
TWO_STAGES = {
    "demo_upernet_maxvit_mini_sample": {
        "backbone.out_indices": (0, 1),
        "decode_head.in_channels": [32, 64],
        "decode_head.in_index": [0, 1],
        "auxiliary_head": None,
    },
    "demo_fpn_maxvit_mini_sample": {
        "backbone.out_indices": (0, 1),
        "neck.in_channels": [32, 64],
        "neck.num_outs": 2,
        "decode_head.in_channels": [64, 64],
        "decode_head.in_index": [0, 1],
        "decode_head.feature_strides": [4, 8],
    },
    "demo_retinanet_maxvit_mini_sample": {
        "backbone.out_indices": (1,),
        "neck.in_channels": [64],
        "neck.num_outs": 2,
        "bbox_head.anchor_generator.strides": [8, 16],
        "bbox_head.stacked_convs": 1,
    },
    "demo_maskrcnn_maxvit_mini_sample": {
        "backbone.out_indices": (0, 1),
        "neck.in_channels": [32, 64],
        "neck.num_outs": 3,
        "rpn_head.anchor_generator.strides": [4, 8, 16],
        "roi_head.bbox_roi_extractor.featmap_strides": [4, 8],
        "roi_head.mask_roi_extractor.featmap_strides": [4, 8],
        "test_cfg.rcnn.score_thr": 0.1,
    },
}


def small_model(name, folder):
    """A config and a checkpoint of a demo's model, with random weights."""
    cfg = Config.fromfile(find_config(name))
    cfg.merge_from_dict({f"model.{key}": value for key, value in TWO_STAGES[name].items()})
    torch.manual_seed(0)
    model = build_model(cfg)
    fill_with_noise(model.backbone.net)
    if "retinanet" in name:
        torch.nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.05)  # scores that differ, none of them 1.0
    classes = CLASSES[: 10 if "decode_head" in cfg.model else 6]
    cfg.dump(folder / "config.py")
    meta = dict(dataset_meta=dict(classes=classes), maxvit_dense=dict(mask_values=VALUES[: len(classes)]))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / "w.pth")
    return str(folder / "config.py"), str(folder / "w.pth")


def photographs(count=3):
    random = np.random.default_rng(0)
    shapes = [random.integers(0, 256, (6, 8, 3), dtype=np.uint8) for _ in range(count)]
    return [np.asarray(Image.fromarray(s).resize((150 + 31 * i, 120), Image.BICUBIC)) for i, s in enumerate(shapes)]


@pytest.fixture(scope="module", params=TWO_STAGES)
def exported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("export")
    model = small_model(request.param, folder)
    assert command([*model, "--out", str(folder / "out")]) == 0
    return folder / "out", model


def test_onnx_finds_what_pytorch_finds(exported):
    from maxvit_dense.openmmlab.inference.predictor import load as load_trained

    folder, model = exported
    trained, program = load_trained(*model, device="cpu"), load(folder)
    assert program.task == trained.task and program.classes == list(trained.classes)
    for ours, theirs in zip(program(photographs()), trained(photographs()), strict=True):
        assert ours.keys() == theirs.keys()
        if program.task == "segmentation":
            assert (ours["labels"] == theirs["labels"]).mean() > 0.999
            continue
        assert len(ours["scores"]) == len(theirs["scores"]) > 0
        np.testing.assert_allclose(ours["scores"], theirs["scores"], atol=1e-4)
        same = (ours["labels"] == theirs["labels"]) & (np.abs(ours["boxes"] - theirs["boxes"]).max(1) < 0.1)
        assert same.mean() > 0.98  # equal scores may change places
        if "masks" in theirs:
            assert (ours["masks"] == theirs["masks"])[same].mean() > 0.999


def test_the_runtime_gives_the_same_where_there_is_no_torch(exported, tmp_path):
    folder, _ = exported
    image = photographs(1)[0]
    Image.fromarray(image).save(tmp_path / "photo.png")
    code = """
        import sys
        for name in ("torch", "torchvision", "timm", "mmengine", "mmcv", "cv2"): sys.modules[name] = None
        import numpy as np
        from PIL import Image
        import maxvit_dense.runtime
        found = maxvit_dense.runtime.load(sys.argv[1])([np.asarray(Image.open(sys.argv[2]))])[0]
        np.savez(sys.argv[3], **found)
    """
    out = tmp_path / "found.npz"
    paths = [str(folder), str(tmp_path / "photo.png"), str(out)]
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code), *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for key, value in load(folder)([image])[0].items():
        np.testing.assert_array_equal(np.load(out)[key], value)


def test_predict_writes_results_of_what_was_exported(exported, tmp_path, monkeypatch):
    folder, _ = exported
    for i, photo in enumerate(photographs()):
        Image.fromarray(photo).save(tmp_path / f"{i}.png")
    monkeypatch.chdir(tmp_path)
    segments = load(folder).task == "segmentation"
    out = "found" if segments else "found.json"
    assert predict([str(folder), "*.png", "--score", "0", "--out", out]) == 0
    assert len(list((tmp_path / "predictions").iterdir())) == 3
    if not segments:
        assert json.loads((tmp_path / out).read_text())
        return
    for i, found in enumerate(load(folder)(photographs())):
        mask = np.asarray(Image.open(tmp_path / out / f"{i}.png"))
        np.testing.assert_array_equal(mask, np.array(VALUES)[found["labels"]])


def test_the_card_tells_what_the_program_is(exported):
    folder, _ = exported
    card = json.loads((folder / "model.json").read_text())
    assert card["images_per_call"] == (1 if card["task"] == "detection" else None)
    assert max(card["comparison"]["differences"].values()) <= card["comparison"]["tolerance"]
    assert len(card["comparison"]["differences"]) == 5
    assert card["preprocessing"]["order"] == "rgb"
    assert np.allclose(card["preprocessing"]["mean"], [123.675, 116.28, 103.53])


def test_openvino_runs_the_onnx_file_too(exported):
    pytest.importorskip("openvino", reason="needs openvino (requirements/clients.txt)")
    folder, _ = exported
    for ours, theirs in zip(load(folder, "openvino")(photographs(1)), load(folder)(photographs(1)), strict=True):
        for key, value in theirs.items():
            assert ours[key].shape == value.shape
            assert (np.abs(ours[key].astype(float) - value) < 0.1).mean() > 0.98
