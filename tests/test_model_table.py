"""docs/models.md: its rows against new counts, published figures and the folder of configs; the tool's command line."""

import csv
import importlib
import re
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.structures import InstanceData  # noqa: E402

from maxvit_dense.openmmlab import complexity, run  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
model_table = importlib.import_module("tools.model_table")
TABLE = ROOT / "docs" / "models.md"
CONFIGS = model_table.find_configs()
CHEAP = (
    "maskrcnn_maxvit_t_coco",
    "cascade_maskrcnn_maxvit_t_896_coco",
    "upernet_maxvit_t_ade20k",
    "finetune_maxvit_t_384_imagenet",
)


@pytest.fixture(scope="module")
def table():
    return TABLE.read_text(encoding="utf-8").splitlines()


def build(tmp_path, base):
    """The model of a config that mmdet has."""
    path = tmp_path / "config.py"
    path.write_text(f'_base_ = "mmdet::{base}"\nmodel = dict(backbone=dict(init_cfg=None))\n')
    return run.build_model(run.load_config(str(path), None, ("model",)))


# What is counted.


@pytest.mark.parametrize(
    ("base", "params", "flops"),
    [
        ("swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py", 48, 267),  # Swin-Transformer-Object-Detection README
        ("retinanet/retinanet_r50_fpn_1x_coco.py", 38, 239),  # mmdetection configs/retinanet, counted by another tool
    ],
)
def test_known_detectors_have_their_published_size_at_1280_by_800(tmp_path, base, params, flops):
    model = build(tmp_path, base)
    assert round(complexity.count_parameters(model) / 1e6) == params
    # Published figures are rounded, and mmdetection's hold the norms' products too: 0.3% of RetinaNet.
    assert complexity.count_model(model, 800, 1280) / 1e9 == pytest.approx(flops, abs=1)


def test_tensors_without_values_count_what_images_do():
    from mmdet.structures import DetDataSample  # after maxvit_dense.openmmlab, which brings the operators

    cfg = run.load_config(str(ROOT / "configs" / "demo" / "demo_maskrcnn_maxvit_mini_sample.py"), None, ("model",))
    size = (72, 100)
    model = run.build_model(cfg).eval()
    corner = torch.rand(complexity.BOX_REGIONS, 2) * 30
    proposals = InstanceData(bboxes=torch.cat([corner, corner + 20], dim=1))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        maps = model.extract_feat(torch.randn(1, 3, *size))
        model.rpn_head(maps)
        model.roi_head(maps, [proposals], [DetDataSample(metainfo=dict(img_shape=size))])  # mmdet takes 100 for masks
    assert complexity.count_model(run.build_model(cfg), *size) == counter.get_total_flops() // 2


# The table.


def test_rows_are_what_the_tool_counts():
    paths = [str(path) for path in CONFIGS if path.stem in CHEAP]
    assert model_table.main(["--check", *paths]) == 0


@pytest.mark.parametrize("index", [0, 7, 12], ids=["T-224", "B-384", "XL-384"])
def test_backbones_are_what_the_tool_counts(table, index):
    assert model_table.backbone_line(model_table.published_backbones()[index]) in table


def test_backbones_have_the_published_parameters_and_multiply_adds(table):
    rows = [
        line.strip("| ").split(" | ") for line in table if re.match(r"\| MaxViT-\w+ \| (\d+)x\1 \| \d+\.\d\d \|", line)
    ]
    assert len(rows) == 14
    for name, size, params, timm_params, flops, paper_flops, timm_flops, *_ in rows:
        assert params == timm_params, (name, size)
        # Theirs hold normalisation and pooling too, and lookups in tables of bias as products: 2.5% of T at 512.
        assert float(flops) == pytest.approx(float(timm_flops), rel=0.02), (name, size)
        assert float(flops) == pytest.approx(float(paper_flops), rel=0.025), (name, size)


def test_every_config_has_one_row_and_no_other_has(table):
    linked = [match for line in table for match in re.findall(r"\(\.\./configs/(\w+\.py)\)", line)]
    assert sorted(linked) == sorted(path.name for path in CONFIGS)


def test_every_published_figure_is_in_the_table(table):
    rows = model_table.published_rows()
    assert len(rows) > 60
    assert [row for row in rows if row.line() not in table] == []


@pytest.mark.parametrize(
    ("section", "model", "figures"),
    [
        ("maskrcnn_coco", "Swin-T", "81.3 3x 48 267 46.0 41.6"),
        ("maskrcnn_coco", "ConvNeXt-T", "82.1 3x 48 262 46.2 41.7"),
        ("cascade_maskrcnn_coco", "Swin-T", "81.3 3x 86 745 50.4 43.7"),
        ("cascade_maskrcnn_square_coco", "MaxViT-B", "84.95 not stated 157 856 53.4 45.7"),
        ("upernet_ade20k", "Swin-T", "81.3 160k 60 945 44.51 45.81"),
        ("upernet_ade20k", "ConvNeXt-T", "82.1 160k 60 939 46.0 46.7"),
    ],
)
def test_figures_of_the_papers(section, model, figures):
    row = next(r for r in model_table.published_rows() if (r.section, r.model) == (section, model))
    assert " ".join((row.top1, row.schedule, row.params, row.flops, row.first, row.second)) == figures


# The collection of published figures beside the checkout, which the data files were written from.

COLUMNS = ("maskrcnn_coco", "cascade_maskrcnn_coco", "upernet_ade20k")
SECOND = r"(?:/(?P<second>[\d.]+)(?![\d.‡]))?"  # the marked figure is of another source, whose scales are not known
CELL = rf"(?P<first>[\d.]+)†?{SECOND}.*?(?:; 1x (?P<short>[\d./]+))?(?: \((?P<params>\d+)M, (?P<flops>\d+)G\))?"


@pytest.fixture
def recipes():
    path = ROOT.parent / "shared" / "recipes.md"
    if not path.is_file():
        pytest.skip("needs ../shared/recipes.md beside the checkout")
    return path.read_text(encoding="utf-8")


def peers_of(recipes):
    """(section, model, top-1, schedule, params, flops, first, second) of each cell of the table of peers."""
    lines = recipes.partition("\n## 5.")[2].partition("\nSources:")[0].splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ") and "unknown" not in line][1:]
    sizes = {}
    for model, top1, *entries in cells:
        for section, entry in zip(COLUMNS, entries, strict=True):
            if entry == "-":
                continue
            found = re.fullmatch(CELL, entry)
            # DiNAT has NAT's sizes.
            like = (section, model.replace("DiNAT", "NAT"))
            size = sizes.setdefault(like, (found["params"], found["flops"]))
            schedule = "160k" if section == "upernet_ade20k" else "3x"
            yield (section, model, top1, schedule, *size, found["first"], found["second"] or "")
            if found["short"]:
                yield (section, model, top1, "1x", *size, *found["short"].split("/"))


def test_peers_are_those_of_the_collection(recipes):
    expected = set(peers_of(recipes))
    assert len(expected) == 47
    rows = model_table.published_rows()
    ours = {
        (r.section, r.model, r.top1, r.schedule, r.params, r.flops, r.first, r.second)
        for r in rows
        if r.section in COLUMNS and r.params
    }
    assert ours == expected


def test_the_official_figures_are_those_of_the_collection(recipes):
    paper = recipes.partition("### 3.1")[2].partition("### 3.2")[0]
    garden = recipes.partition("| [MG README] box / mask AP")[2].partition("mmdet equivalent")[0]
    rows = [r for r in model_table.published_rows() if r.section == "cascade_maskrcnn_square_coco"]
    assert len(rows) == 11
    for row in rows:
        if row.params:
            first, second = (f"{ap}/" for ap in (row.first, row.second))
            found = next(line for line in paper.splitlines() if line.startswith(f"| {row.model[-1]} |"))
            assert f"| {first}" in found and f"| {second}" in found
            assert f"| {row.flops}G | {row.params}M |" in found
        else:
            init = "JFT" if "JFT" in row.model else "IN-1K"
            found = next(line for line in garden.splitlines() if line.startswith(f"| {row.image[:3]}, {init}"))
            size = row.model.removeprefix("MaxViT-")[0]
            assert found.strip("| ").split(" | ")["TSBL".index(size) + 1] == f"{row.first}/{row.second}"


def test_backbones_are_those_of_the_collection(recipes):
    lines = recipes.partition("### 2.4")[2].partition("timm-trained")[0].splitlines()
    known = {}
    for line in lines:
        if re.match(r"\| (T|S|B|L) \| (224|384|512) \|", line):
            size, side, top1, flops, timm, params, gmacs = line.strip("| ").split(" | ")
            known[f"MaxViT-{size}", side] = (params, flops, gmacs, top1.strip("*"), timm.split("/")[0])
    with open(ROOT / "tools" / "published" / "backbones.csv", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["weights"] == "in1k"]
    assert len(known) == len(rows) == 12
    for row in rows:
        params, flops, gmacs, *top1 = known[row["model"], row["side"]]
        assert (row["params"], row["timm_flops"], row["top1"], row["timm_top1"]) == (params, gmacs, *top1)
        assert f"{row['flops']}G" in flops


# The command line.


def test_a_row_that_differs_fails_the_check_and_is_shown(table, tmp_path, capsys):
    old = next(line for line in table if "maskrcnn_maxvit_t_coco]" in line)
    other = tmp_path / "models.md"
    other.write_text("\n".join(table).replace(old, old.replace("1280x800", "1280x801")))
    config = str(ROOT / "configs" / "maskrcnn_maxvit_t_coco.py")
    assert model_table.main(["--check", "--out", str(other), config]) == 1
    said = capsys.readouterr()
    assert said.out == f"+ {old}\n"
    assert "differs from a new count. Run: python tools/model_table.py" in said.err


def test_rows_of_given_configs_are_printed_and_nothing_is_written(tmp_path, table, capsys):
    config = str(ROOT / "configs" / "maskrcnn_maxvit_t_coco.py")
    assert model_table.main([config, "--out", str(tmp_path / "models.md")]) == 0
    assert capsys.readouterr().out.strip() in table
    assert list(tmp_path.iterdir()) == []


def test_the_whole_table_is_written_and_then_equals_a_new_count(tmp_path, monkeypatch):
    few = [path for path in CONFIGS if path.stem == "maskrcnn_maxvit_t_coco"]
    monkeypatch.setattr(model_table, "find_configs", lambda: few)
    monkeypatch.setattr(model_table, "published_backbones", lambda: [])
    out = str(tmp_path / "models.md")
    assert model_table.main(["--out", out]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["models.md"]
    assert model_table.main(["--check", "--out", out]) == 0
    (tmp_path / "models.md").write_text((tmp_path / "models.md").read_text() + "| one more |\n")
    assert model_table.main(["--check", "--out", out]) == 1


@pytest.mark.parametrize(
    ("text", "found"), [("not yet run. Others: box AP 1.0", "- -"), ("box AP 46.9, 8 H100", "46.9 -")]
)
def test_accuracy_is_that_of_the_header(tmp_path, text, found):
    path = tmp_path / "config.py"
    path.write_text(f"# Mask R-CNN.\n#\n# Result:   {text}\n")
    assert " ".join(model_table._own_results(path, "coco")) == found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.py"], "There is no absent.py. Check the path."),
        (["--check", "--out", "absent.md"], "There is no absent.md. Check the path."),
        (["--out", "absent/models.md"], "There is no folder for absent/models.md."),
        ([__file__], "is not named <head>_<backbone>_<size>"),
    ],
)
def test_mistakes_get_one_message(arguments, message, capsys):
    assert model_table.main(arguments) == 2
    assert message in capsys.readouterr().err
