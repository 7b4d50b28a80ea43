"""Count the parameters and FLOPs of docs/models.md anew: `python tools/model_table.py --check`.

FLOPs are multiply-adds of the convolutions, linear layers and the two products of each attention, which is what
published FLOPs of this field count: on Swin-T and -S with Mask R-CNN they come to 266.6 and 358.6 G at 1280x800,
published as 267 and 359. A sliding window or padding that a layer adds by itself is counted as it is computed.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

if not __package__:  # python tools/model_table.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

_ROOT = Path(__file__).resolve().parents[1]

# A config's row: model, ImageNet top-1, schedule, image, then the two counts, ..., a link to the config.
_CONFIG_ROW = re.compile(r"\| .* \| (\d+)x(\d+) \| (\S+ \| \S+) \| .*\(\.\./configs/(\w+)\.py\) \|")
_NETWORK_ROW = re.compile(r"\| ((?:MaxViT|CoAtNet)-[\w-]+) \| (\d+)x\2 \| (\S+) \| \S+ \| (\S+) \| .*")
# Regions that published counts of two-stage detectors run through the heads, for every stage of a cascade.
_REGIONS = {"bbox": 1000, "mask": 100}


def recounted(line: str) -> str:
    """A line of the document, with new counts if it is the row of a config or of a network."""
    if row := _CONFIG_ROW.fullmatch(line):
        params, flops = count_config(_ROOT / "configs" / f"{row[4]}.py", height=int(row[2]), width=int(row[1]))
        return _replaced(row, {3: f"{params / 1e6:.1f} | {flops / 1e9:.1f}"})
    if row := _NETWORK_ROW.fullmatch(line):
        params, flops = _count_network(row[1].lower().replace("-", "_"), side=int(row[2]))
        return _replaced(row, {3: f"{params / 1e6:.2f}", 4: f"{flops / 1e9:.2f}"})
    return line


def _replaced(match: re.Match, groups: dict[int, str]) -> str:
    line = match[0]
    for group in sorted(groups, reverse=True):
        line = line[: match.start(group)] + groups[group] + line[match.end(group) :]
    return line


def configs() -> set[str]:
    """All configs of published size, by name: not those of MaxViT-mini and of its peers on small data sets."""
    small = re.compile("_mini_|_(bccd|camvid|cifar10)")
    return {path.stem for path in (_ROOT / "configs").glob("*.py") if not small.search(path.name)}


def _count_network(name: str, side: int) -> tuple[int, int]:
    """Parameters and multiply-adds of a network of timm for one image of ``side`` by ``side`` pixels."""
    import timm
    import torch

    import maxvit_dense  # noqa: F401

    net = timm.create_model(name, img_size=side, device="meta").eval()
    with _counting() as counter:
        net(torch.empty(1, 3, side, side, device="meta"))
    return _parameters(net), counter.get_total_flops() // 2


def count_config(path: Path, height: int, width: int) -> tuple[int, int]:
    """Parameters of a config's model, and its multiply-adds to find, segment or classify things in one image.

    Heads that only training uses count as parameters alone. Weights and image are PyTorch's meta tensors, which have
    sizes but no values, so that a count takes a second. Heads with deformable attention need values to run, and get
    zeros on the CPU in place of the maps.

    Raises:
        InputError: the config cannot be loaded or its model cannot be built.
    """
    import torch

    from maxvit_dense.openmmlab.config.load import build_model, load_config

    model = build_model(load_config(str(path), None, ("model",))).eval()
    parameters = _parameters(model)
    image = torch.empty(1, 3, height, width, device="meta")
    with _counting() as counter:
        if not hasattr(model, "extract_feat"):  # a classifier
            model.backbone.to("meta")(image)
            return parameters, counter.get_total_flops() // 2
        device = "cpu" if _needs_values(model) else "meta"
        for name, part in model.named_children():
            if device == "meta" or name in ("backbone", "neck"):
                part.to("meta")
        maps = [torch.zeros_like(m, device=device) for m in model.extract_feat(image)]
        _run_heads(model, maps, (height, width))
    return parameters, counter.get_total_flops() // 2


def _parameters(model) -> int:
    return sum(p.numel() for p in model.parameters())


def _needs_values(model) -> bool:
    from mmcv.ops import MultiScaleDeformableAttention

    return any(isinstance(part, MultiScaleDeformableAttention) for part in model.modules())


@contextmanager
def _counting() -> Iterator:
    """Attention runs as two matrix products: PyTorch's counter has no formula for the CPU's fused kernels."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH), torch.no_grad():
            yield counter
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def _run_heads(model, maps: list, image_size: tuple[int, int]) -> None:
    from mmdet.models.detectors.base_detr import DetectionTransformer
    from mmdet.structures import DetDataSample

    sample = DetDataSample(metainfo=dict(img_shape=image_size, batch_input_shape=image_size))
    if hasattr(model, "roi_head"):
        model.rpn_head(maps)
        _run_roi_heads(model.roi_head, maps[0])
    elif isinstance(model, DetectionTransformer):
        model.bbox_head(**model.forward_transformer(maps, [sample]))
    elif hasattr(model, "panoptic_head"):
        model.panoptic_head(maps, [sample])
    elif hasattr(model, "decode_head"):  # mmseg's Mask2Former head is mmdet's, and takes its arguments
        model.decode_head(*([maps, [sample]] if _needs_values(model) else [maps]))
    else:
        model.bbox_head(maps)


def _run_roi_heads(roi_head, like) -> None:
    """The heads on regions of any content: which ones are found depends on weights, their number does not here."""
    for kind, regions in _REGIONS.items():
        if not getattr(roi_head, f"with_{kind}"):
            continue
        stages = [getattr(roi_head, f"{kind}_{part}") for part in ("head", "roi_extractor")]
        if not hasattr(stages[0], "__len__"):  # a cascade has lists, an entry a stage
            stages = [[part] for part in stages]
        for head, extractor in zip(*stages, strict=True):
            head(like.new_empty(regions, extractor.out_channels, *extractor.roi_layers[0].output_size))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Count parameters and multiply-adds of each config that a table links, at the image size that its "
        "row names, and write them into the row. Takes seconds a config, half a minute for heads with deformable "
        "attention. All else in the table is kept by hand."
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if a row differs")
    parser.add_argument("--only", metavar="TEXT", default="", help="rows that hold a text, maskrcnn_maxvit for example")
    parser.add_argument("--table", metavar="FILE", type=Path, default=_ROOT / "docs/models.md", help="(docs/models.md)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written or equal; 1 rows differ or are missing; 2 wrong usage."""
    args = _parser().parse_args(argv)
    if not args.table.is_file():
        return _fail(f"There is no {args.table}. Check the path.")
    lines = args.table.read_text(encoding="utf-8").splitlines()

    from maxvit_dense.errors import InputError, listed
    from maxvit_dense.files import write_whole

    try:
        new = [recounted(line) if args.only in line else line for line in lines]
    except InputError as error:
        return _fail(error)
    differing = [(old, line) for old, line in zip(lines, new, strict=True) if old != line]
    print("".join(f"- {old}\n+ {line}\n" for old, line in differing), end="")
    if not args.check and differing:
        write_whole(args.table, "\n".join(new) + "\n")
    missing = configs() - {row[4] for line in lines if (row := _CONFIG_ROW.fullmatch(line))}
    if missing:
        row = "| MODEL | - | - | 1280x800 | - | - | - | - | [NAME](../configs/NAME.py) |"
        print(f"model_table: no row for {listed(sorted(missing))}; add {row}", file=sys.stderr)
    if args.check and differing:
        print(f"model_table: {args.table} differs from a new count; run this without --check", file=sys.stderr)
    return int(bool(missing or (args.check and differing)))


def _fail(message: object) -> int:
    print(f"model_table: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
