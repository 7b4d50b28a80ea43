"""docs/models.md: its rows against new counts, published figures and the folder of configs; the tool's command line."""

import re
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.structures import InstanceData  # noqa: E402

from maxvit_dense.openmmlab.config.load import build_model, load_config  # noqa: E402
from tools import model_table  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TABLE = (ROOT / "docs" / "models.md").read_text(encoding="utf-8").splitlines()
ROW = next(line for line in TABLE if "maskrcnn_maxvit_t_coco]" in line)


@pytest.mark.parametrize(
    ("base", "params", "flops"),
    [
        ("swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py", 48, 267),  # Swin-Transformer-Object-Detection README
        ("retinanet/retinanet_r50_fpn_1x_coco.py", 38, 239),  # mmdetection configs/retinanet, counted by another tool
    ],
)
def test_known_detectors_have_their_published_size_at_1280_by_800(tmp_path, base, params, flops):
    path = tmp_path / "config.py"
    path.write_text(f'_base_ = "mmdet::{base}"\nmodel = dict(backbone=dict(init_cfg=None))\n')
    counted = model_table.count_config(path, 800, 1280)
    assert round(counted[0] / 1e6) == params
    # Published figures are rounded, and mmdetection's hold the norms' products too: 0.3% of RetinaNet.
    assert counted[1] / 1e9 == pytest.approx(flops, abs=1)


def test_tensors_without_values_count_what_images_do():
    from mmdet.structures import DetDataSample  # after maxvit_dense.openmmlab, which brings the operators

    path, size = ROOT / "configs" / "demo" / "demo_maskrcnn_maxvit_mini_sample.py", (72, 100)
    model = build_model(load_config(str(path), None, ("model",))).eval()
    corner = torch.rand(1000, 2) * 30
    proposals = InstanceData(bboxes=torch.cat([corner, corner + 20], dim=1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        maps = model.extract_feat(torch.randn(1, 3, *size))
        model.rpn_head(maps)
        model.roi_head(maps, [proposals], [DetDataSample(metainfo=dict(img_shape=size))])  # mmdet takes 100 for masks
    assert model_table.count_config(path, *size)[1] == counter.get_total_flops() // 2


@pytest.mark.parametrize(
    "name", ["cascade_maskrcnn_maxvit_t_896_coco", "upernet_maxvit_t_ade20k", "finetune_maxvit_t_384_imagenet"]
)
def test_rows_are_what_the_tool_counts(name):
    row = next(line for line in TABLE if f"[{name}]" in line)
    assert model_table.recounted(row) == row


@pytest.mark.parametrize("start", ["| MaxViT-T | 224x224", "| MaxViT-B | 384x384", "| MaxViT-XL | 384x384"])
def test_networks_are_what_the_tool_counts(start):
    row = next(line for line in TABLE if line.startswith(start) and line.count("configs/") == 0)
    assert model_table.recounted(row) == row


def test_networks_have_the_published_parameters_and_multiply_adds():
    networks = re.compile(r"\| MaxViT-[A-Z]+ \| (\d+)x\1 \| \d+\.\d\d ")  # the paper's
    rows = [line.strip("| ").split(" | ") for line in TABLE if networks.match(line)]
    assert len(rows) == 14
    for name, size, params, timm_params, flops, paper_flops, timm_flops, *_ in rows:
        assert params == timm_params, (name, size)
        # Theirs hold normalisation and pooling too, and lookups in tables of bias as products: 2.5% of T at 512.
        assert float(flops) == pytest.approx(float(timm_flops), rel=0.02), (name, size)
        assert float(flops) == pytest.approx(float(paper_flops), rel=0.025), (name, size)


def test_every_config_has_one_row_and_no_other_has():
    linked = [match for line in TABLE for match in re.findall(r"\(\.\./configs/(\w+)\.py\)", line)]
    assert sorted(linked) == sorted(model_table.configs())


def test_new_counts_are_shown_and_written_unless_checked(tmp_path, capsys):
    table = tmp_path / "models.md"
    old = ROW.replace("| 50.3 | 283.4 |", "| 1.0 | - |")
    other = "| Swin-T | 81.3 | 3x | 1280x800 | 48 | 267 | 46.0 | 41.6 | README |"
    table.write_text("\n".join(["# Title", old, other, *(line for line in TABLE if line != ROW)]) + "\n")
    options = ["--table", str(table), "--only", "maskrcnn_maxvit_t_coco]"]
    assert model_table.main([*options, "--check"]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[-2:] == [f"- {old}", f"+ {ROW}"]  # mmseg says something of its own as it is imported
    assert "differs from a new count" in said.err
    assert old in table.read_text()
    assert model_table.main(options) == 0
    assert table.read_text().splitlines()[:3] == ["# Title", ROW, other]


def test_a_config_without_a_row_is_named(tmp_path, capsys):
    table = tmp_path / "models.md"
    table.write_text("\n".join(line for line in TABLE if line != ROW))
    assert model_table.main(["--table", str(table), "--only", "nothing"]) == 1
    assert "no row for maskrcnn_maxvit_t_coco; add | MODEL |" in capsys.readouterr().err


def test_mistakes_get_one_message(tmp_path, capsys):
    assert model_table.main(["--table", "absent.md"]) == 2
    assert "There is no absent.md" in capsys.readouterr().err
