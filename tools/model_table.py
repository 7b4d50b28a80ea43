"""Write docs/models.md: parameters, FLOPs and accuracy of every config beside published figures."""

import argparse
import csv
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.append(str(ROOT))  # a checkout that was not installed

PUBLISHED = ROOT / "tools" / "published"
NONE = "-"

# <head>_<backbone>_<size>[_<variant>]_<data>.py, as CONTRIBUTING.md has it.
_NAME = re.compile(
    r"(?P<head>\w+)_(?P<backbone>[a-z0-9]+)_(?P<size>t|s|b|l|xl)(_(?P<variant>\w+))?_(?P<data>coco|ade20k|imagenet)"
)
_SECTIONS = {
    "maskrcnn_coco": "Mask R-CNN on COCO",
    "cascade_maskrcnn_coco": "Cascade Mask R-CNN on COCO",
    "cascade_maskrcnn_square_coco": "Cascade Mask R-CNN on COCO, the official MaxViT recipe",
    "retinanet_coco": "RetinaNet on COCO",
    "dino_coco": "DINO on COCO",
    "mask2former_coco": "Mask2Former on COCO",
    "upernet_ade20k": "UPerNet on ADE20K",
    "fpn_ade20k": "Semantic FPN on ADE20K",
    "mask2former_ade20k": "Mask2Former on ADE20K",
    "pretrain_imagenet": "Pretraining on ImageNet-1k",
    "finetune_imagenet": "Fine-tuning on ImageNet-1k",
}
_METRICS = {
    "coco": ("box AP", "mask AP"),
    "ade20k": ("mIoU", "multi-scale and flipped"),
    "imagenet": ("top-1", "top-5"),
}
_BACKBONES = dict(maxvit="MaxViT", swin="Swin", convnext="ConvNeXt", gcvit="GC ViT", coatnet="CoAtNet")
_MODELS = dict(coatnet_t="timm CoAtNet-0")  # timm's own variant, whose accuracy is not the paper's
_SCHEDULES = {12: "1x", 36: "3x"}
# Longest side and short side that test images are resized to -> the size that FLOPs are quoted at.
_CUSTOMARY = {(1333, 800): (1280, 800)}

_INTRODUCTION = """\
# Parameters, FLOPs and accuracy

Written by `python tools/model_table.py`; `--check` compares it with a new count.

FLOPs are multiply-adds in units of 10^9, as in the papers: convolutions, linear layers and the two products of each
attention, counted by PyTorch's `FlopCounterMode`. Normalisation, activations, pooling, interpolation, RoIAlign, lookups
of position biases and the sampling of deformable attention are left out; MaxViT's paper, which counts some of them,
comes to at most 2.5% more. Windows are counted as they are computed, with the positions that MaxViT adds at the edges
of a map. Two-stage detectors run 1000 regions through each box head and 100 through each mask head. Heads that only
training uses count as parameters alone.

Rows with a config are ours: counted here, accuracy where it was run ("-": not yet). All others are published figures,
and so is ImageNet top-1. 1x is 12 epochs, 3x is 36, 160k counts iterations. The image is width x height in pixels: of a
backbone with a fixed size (GC ViT, CoAtNet) that size, on ADE20K one sliding window. Figures of the official MaxViT
recipe, of 200 epochs with a scale jitter of 0.1 to 2.5, do not compare with those of 1x and 3x.
"""


_BACKBONE_HEAD = """\
## MaxViT on ImageNet

Published: the paper's top-1 and FLOPs (tables 2 and 3; B at 224 is 24.2 in table 10, 23.4 in table 2), and timm's count
and accuracy of the same weights. XL's weights are those of ImageNet-21k, fine-tuned.

| model | image | params (M) | timm's | FLOPs (G) | paper's | timm's | top-1, paper | top-1, timm |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |"""


@dataclass(frozen=True)
class Row:
    """One line of a section, cells as they are printed."""

    section: str
    model: str
    top1: str
    schedule: str
    image: str
    params: str
    flops: str
    first: str
    second: str
    source: str

    def line(self) -> str:
        cells = (self.model, self.top1, self.schedule, self.image, self.params, self.flops, self.first, self.second)
        return _line(*cells, self.source)


def _line(*cells: str) -> str:
    return f"| {' | '.join(cell or NONE for cell in cells)} |"


def find_configs() -> list[Path]:
    """All configs of the folder but those of MaxViT-mini, which are demos; sizes of a family in ascending order."""
    order = ["maxvit", "t", "s", "b", "l", "xl"]

    def key(path: Path) -> tuple:
        name = _parse(path)
        backbone = (name["backbone"] != "maxvit", name["backbone"])
        return name["head"], name["data"], backbone, order.index(name["size"]), name["variant"] or ""

    return sorted((p for p in (ROOT / "configs").glob("*.py") if "_mini_" not in p.name), key=key)


def _parse(path: Path) -> re.Match:
    name = _NAME.fullmatch(path.stem)
    if not name:
        raise ValueError(f"{path} is not named <head>_<backbone>_<size>[_<variant>]_<coco, ade20k or imagenet>.py")
    return name


def published_rows() -> list[Row]:
    """Figures of the papers and of their repositories, in the order of the file."""
    with open(PUBLISHED / "models.csv", encoding="utf-8", newline="") as stream:
        return [Row(**entry) for entry in csv.DictReader(stream)]


def published_backbones() -> list[dict[str, str]]:
    """Figures of MaxViT on ImageNet: the paper's, and timm's of the same weights."""
    with open(PUBLISHED / "backbones.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def config_row(path: Path) -> Row:
    """Build a config's model and count it.

    Raises:
        InputError: the config cannot be loaded or its model cannot be built.
    """
    from maxvit_dense.openmmlab import complexity, run

    name = _parse(path)
    cfg = run.load_config(str(path), None, ("model", "train_cfg", "test_dataloader"))
    model = run.build_model(cfg)
    width, height = _image_size(cfg, model)
    square = name["head"] == "cascade_maskrcnn" and width == height
    label = f"{_BACKBONES.get(name['backbone'], name['backbone'])}-{name['size'].upper()}"
    label = _MODELS.get(f"{name['backbone']}_{name['size']}", label)
    first, second = _own_results(path, name["data"])
    return Row(
        section=f"{name['head']}{'_square' if square else ''}_{name['data']}",
        model=label,
        top1=_top1(label, str(width) if name["data"] == "imagenet" else "224"),
        schedule=_schedule(cfg.train_cfg),
        image=f"{width}x{height}",
        params=f"{complexity.count_parameters(model) / 1e6:.1f}",
        flops=f"{complexity.count_model(model, height, width) / 1e9:.1f}",
        first=first,
        second=second,
        source=f"[{path.stem}](../configs/{path.name})",
    )


def _image_size(cfg, model) -> tuple[int, int]:
    """Width and height: a fixed size of the backbone, else what test images are resized to."""
    data = cfg.test_dataloader.dataset
    if cfg.model.type == "ImageClassifier":
        return data.transform.input_size, data.transform.input_size
    fixed = getattr(model.backbone, "img_size", None)
    if fixed:
        return fixed[1], fixed[0]
    scales = {tuple(step["scale"]) for step in data.pipeline if step["type"] == "Resize"}
    if len(scales) != 1:
        raise ValueError(
            f"The test pipeline of {cfg.filename} resizes to {sorted(scales)}: it takes one size to count at"
        )
    scale = scales.pop()
    return _CUSTOMARY.get(scale, scale)


def _schedule(train_cfg) -> str:
    if train_cfg.get("max_epochs"):
        return _SCHEDULES.get(train_cfg.max_epochs, f"{train_cfg.max_epochs} epochs")
    return f"{train_cfg.max_iters / 1000:g}k"


def _own_results(path: Path, data: str) -> tuple[str, str]:
    """The two metrics of the config's header: "Result: box AP 46.9, mask AP 42.1", unless it opens "not yet run"."""
    result = re.search(r"^# Result:\s*(.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    text = result[1] if result else ""
    if text.startswith("not yet run"):
        return NONE, NONE
    found = [re.search(rf"{metric} (\d+(\.\d+)?)", text) for metric in _METRICS[data]]
    return tuple(match[1] if match else NONE for match in found)


def _top1(model: str, side: str) -> str:
    """Published ImageNet top-1 of a backbone, of MaxViT at images of ``side`` pixels."""
    peers = {row.model: row.top1 for row in published_rows()}
    known = {row["model"]: row["top1"] for row in published_backbones() if row["side"] == side}
    return (peers | known).get(model, NONE)


def backbone_line(row: Mapping[str, str]) -> str:
    """A row of the table of MaxViT itself: our counts beside the published figures that ``row`` holds."""
    import timm

    import maxvit_dense  # noqa: F401
    from maxvit_dense.openmmlab import complexity

    side = int(row["side"])
    net = timm.create_model(row["model"].lower().replace("-", "_"), img_size=side, device="meta")
    params = f"{complexity.count_parameters(net) / 1e6:.2f}"
    flops = f"{complexity.count_network(net, side, side) / 1e9:.2f}"
    published = (row["flops"], row["timm_flops"], row["top1"], row["timm_top1"])
    return _line(row["model"], f"{side}x{side}", params, row["params"], flops, *published)


def render(rows: Iterable[Row]) -> str:
    """The whole document; ``rows`` are those of configs."""
    rows = list(rows)
    published = published_rows()
    known = list(_SECTIONS) + sorted({row.section for row in rows} - set(_SECTIONS))
    parts = [_INTRODUCTION, _BACKBONE_HEAD, *map(backbone_line, published_backbones())]
    for section in known:
        found = [row for row in rows if row.section == section] + [row for row in published if row.section == section]
        if found:
            parts += ["", *_section_lines(section, found)]
    return "\n".join(parts) + "\n"


def _section_lines(section: str, rows: Sequence[Row]) -> list[str]:
    metrics = _METRICS[section.rpartition("_")[2]]
    head = ("model", "ImageNet top-1", "schedule", "image", "params (M)", "FLOPs (G)", *metrics, "config or source")
    title = _SECTIONS.get(section, section)
    return [f"## {title}", "", _line(*head), _line(*["---"] * len(head)), *(row.line() for row in rows)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Count parameters and multiply-adds of every config in configs/ and write them, beside published "
        "figures, as a Markdown table. With configs given, print their rows instead. Takes seconds a config, "
        "half a minute for heads with deformable attention."
    )
    parser.add_argument("configs", nargs="*", help="config files (all of configs/ but demos)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit with 1 if the table differs from a new count, of the given configs or as a whole",
    )
    parser.add_argument(
        "--out", metavar="FILE", default=str(ROOT / "docs" / "models.md"), help="table (docs/models.md)"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written, printed or equal; 1 the table differs; 2 wrong usage."""
    args = _parser().parse_args(argv)
    absent = [path for path in [*args.configs, *([args.out] if args.check else [])] if not os.path.isfile(path)]
    if absent:
        return _fail(f"There is no {', '.join(absent)}. Check the path.")
    if not os.path.isdir(os.path.dirname(os.path.abspath(args.out))):
        return _fail(f"There is no folder for {args.out}. Make it first, or name another file.")

    from maxvit_dense.errors import InputError

    rows = []
    try:
        for path in map(Path, args.configs) if args.configs else find_configs():
            rows.append(config_row(path))
            print(f"{path.stem}: {rows[-1].params} M, {rows[-1].flops} G", file=sys.stderr, flush=True)
    except (InputError, ValueError) as error:
        return _fail(error)
    if args.check:
        return _check(rows, args.out, whole=not args.configs)
    if args.configs:
        print("\n".join(row.line() for row in rows))
        return 0
    aside = f"{args.out}.part"
    Path(aside).write_text(render(rows), encoding="utf-8")
    os.replace(aside, args.out)
    return 0


def _check(rows: Sequence[Row], out: str, whole: bool) -> int:
    there = Path(out).read_text(encoding="utf-8").splitlines()
    counted = render(rows).splitlines() if whole else [row.line() for row in rows]
    new = [line for line in counted if line not in there]
    old = [line for line in there if line not in counted] if whole else []
    for line in [*(f"- {line}" for line in old), *(f"+ {line}" for line in new)]:
        print(line)
    if not new and not old and (not whole or there == counted):
        return 0
    print(f"model_table: {out} differs from a new count. Run: python tools/model_table.py", file=sys.stderr)
    return 1


def _fail(message: object) -> int:
    print(f"model_table: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
