"""Speed and memory of our networks beside timm's and torchvision's: `python tools/benchmark.py --preset cpu`."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

if not __package__:  # python tools/benchmark.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

_EPILOG = """\
A row is [timm:|torchvision:]NAME (a name alone is one of ours) and words: train, features, bf16, fp16, cuda, fold
(BatchNorm), compile, channels_last, recompute, cheap (recomputation), batch=8, size=800x1333, window=7, window=ratio,
images=400x534,534x400 (sizes of the images on a canvas of that size). --work has words of all rows. For example:

  python tools/benchmark.py --rows "maxvit_t fold" timm:maxvit_tiny_tf_224 --work "batch=8 bf16"
  python tools/benchmark.py --rows "maxvit_t size=800x1333" "timm:maxvit_tiny_tf_224 window=7 size=896x1344" \\
      --work "features train"

  python tools/benchmark.py --count --preset count
  python tools/benchmark.py --count --rows maxvit_t timm:maxvit_tiny_tf_224 --work "batch=8 train cuda"

Each row runs in a process of its own, one repetition in turn, with random weights and images. Training is forward and
backward, without an optimizer. Peak memory is that of weights and of a call beyond the process at rest.

--count runs nothing: tensors have no values, and "cuda" needs no GPU. Launches are operators that are no views, moved
is what they read and write, peak what a call makes and holds beyond weights and images, and a chip's time the least
that its memory or its matrix units need for each operator.

--data prepares images for training as a config does, beside timm's loader and torchvision's transforms, and says how
many cores an H100 could keep busy at best (the counted step of MaxViT-T's backbone):

  python tools/benchmark.py --data maskrcnn_maxvit_t_3x_coco=data/coco pretrain_maxvit_t_imagenet=data/imagenet
"""
_CHIPS = ("H100", "RTX 4090", "here")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure inference and training steps of networks side by side: median time, spread, peak memory.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", choices=("cpu", "gpu", "count"), help="what docs/performance.md shows")
    what.add_argument("--rows", nargs="+", metavar="ROW", help="networks to measure side by side")
    what.add_argument(
        "--data", nargs="+", metavar="CONFIG=FOLDER",
        help="images/s a core of a config's training pipeline on the photographs of a folder",
    )  # fmt: skip
    parser.add_argument("--work", default="", metavar="WORDS", help="words of all --rows")
    parser.add_argument("--count", action="store_true", help="count launches, bytes, operations and memory instead")
    parser.add_argument(
        "--chips", nargs="+", choices=_CHIPS, default=_CHIPS[:2], metavar="CHIP",
        help=f"whose least time --count gives: {', '.join(_CHIPS)} (this CPU, measured); the first two",
    )  # fmt: skip
    parser.add_argument("--repetitions", type=int, metavar="N", help="rounds (5, or as the preset has it)")
    parser.add_argument("--threads", type=int, metavar="N", help="of PyTorch (its default, one a core)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="results as Markdown or, ending in .json, as JSON")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all measured, 1 a row failed, 2 wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ("repetitions", "threads"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} is {getattr(args, name)}; give a whole number from 1")
    if args.threads is not None and args.threads > (cores := os.cpu_count() or 1):
        parser.error(f"--threads is {args.threads}; this machine has {cores} cores, so give 1 to {cores}")
    from maxvit_dense.files import blocked_file

    if args.out and (problem := blocked_file(args.out)):
        parser.error(f"--out {args.out} cannot be written: {problem}")
    if args.out and args.out.suffix not in (".md", ".json"):
        parser.error(f"--out must end in .md or .json, not {args.out.name!r}")

    for pair in args.data or ():
        if not all(_pair(pair)):
            parser.error(f"--data {pair}: give CONFIG=FOLDER, such as maskrcnn_maxvit_t_3x_coco=data/coco")

    from maxvit_dense.benchmark import rows, session
    from maxvit_dense.errors import InputError

    if args.data:
        try:
            return _report(args, args.data, _prepared)
        except InputError as error:
            print(f"benchmark: {error}", file=sys.stderr)
            return 2
    groups = rows.PRESETS[args.preset] if args.preset else [rows.Group(args.work, tuple(args.rows))]
    try:
        session.check(groups, counted=args.count)
    except InputError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return _report(args, groups, _counted if args.count else _measured)


def _report(args: argparse.Namespace, groups: Sequence, measured: Callable) -> int:
    """Prints and writes a table of each group; 1 if a row failed."""
    from maxvit_dense.benchmark import session
    from maxvit_dense.files import write_whole

    machine = session.machine(args.threads)
    text = ", ".join(f"{key} {value}" for key, value in machine.items() if value is not None) + "\n\n"
    print(text, flush=True)
    results = []
    for table, found in measured(args, groups):
        results += found
        print(table, flush=True)
        text += table + "\n"
        if args.out:  # what is measured stays if a later group is interrupted
            content = json.dumps(dict(machine=machine, rows=results), indent=1) + "\n"
            write_whole(args.out, content if args.out.suffix == ".json" else text)
    return int(any(result["problem"] for result in results))


def _measured(args: argparse.Namespace, groups: Sequence) -> Iterator[tuple[str, list[dict]]]:
    from dataclasses import asdict, replace

    from maxvit_dense.benchmark import session

    for group in groups:
        group = replace(group, repetitions=args.repetitions or group.repetitions)
        found = session.measure(group, args.threads, lambda line: print(line, file=sys.stderr, flush=True))
        rows = [dict(work=group.work, **{k: v for k, v in asdict(r).items() if k != "row"}) for r in found]
        yield session.table(group, found), rows


def _counted(args: argparse.Namespace, groups: Sequence) -> Iterator[tuple[str, list[dict]]]:
    from maxvit_dense.benchmark import chips, count

    named = {chip.name: chip for chip in chips.CHIPS}
    chosen = tuple(named.get(name) or chips.this_machine() for name in args.chips)
    for group in groups:
        found = count.measure(group, chosen)
        yield count.table(group, found, chosen), found


def _pair(text: str) -> tuple[str, str]:
    config, _, folder = text.partition("=")
    return config, folder


def _prepared(args: argparse.Namespace, pairs: Sequence[str]) -> Iterator[tuple[str, list[dict]]]:
    from maxvit_dense.openmmlab.data import rates

    for pair in pairs:
        yield rates.measure(*_pair(pair), args.repetitions or 5)


if __name__ == "__main__":
    sys.exit(main())
