"""Speed and memory of our networks beside timm's and torchvision's: `python tools/benchmark.py --preset cpu`."""

import argparse
import shlex
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a checkout that was not installed

PRESETS = ("cpu", "table", "scaling", "peers", "dynamic", "gpu", "smoke")

_EPILOG = """\
A model is [timm:|torchvision:]NAME[:option,...], a name alone one of ours. Options: fold (BatchNorm), compile,
channels_last, recompute and recompute_cheap (activations, in training), window=7, window=ratio, img_size=HxW (ours:
bias tables), size=HxW and dtype=bf16 in place of the workload's. For example:

  python tools/benchmark.py --models maxvit_t:fold timm:maxvit_tiny_tf_224 --sizes 224 --batch 8
  python tools/benchmark.py --models maxvit_t timm:maxvit_tiny_tf_224:window=7,size=896x1344 --sizes 800x1333 \\
      --batch 1 --features --modes eval train

Each model runs in a process of its own, one repetition in turn, and only if its outputs equal those of its reference:
another implementation of the same function with the same weights where there is one, else itself in fp32, eager and
unfolded. Random weights, random images. Training is forward and backward, without an optimizer. Peak memory is that
of weights and of the first step (compiled: the second) beyond the process at rest. "of matmul" is the share of the
machine's fastest matrix product, measured in the same rounds; "of bandwidth" the least traffic of an eval call (each
convolution's and linear layer's output written and read once, weights read once) over the rate of a large copy.
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Measure eval and training steps of networks side by side: a table on the terminal, results.csv, "
        "results.json and, with several sizes, results.png.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--preset", choices=PRESETS, help="a set of measurements of docs/performance.md")
    what.add_argument("--models", nargs="+", metavar="MODEL", help="models to measure side by side")
    parser.add_argument("--modes", nargs="+", choices=["eval", "train"], default=["eval"], help="(eval)")
    parser.add_argument("--sizes", nargs="+", default=["224"], metavar="HxW", help="image sizes in pixels (224)")
    parser.add_argument("--batch", type=int, default=8, help="images a call (%(default)s)")
    parser.add_argument("--dtypes", nargs="+", choices=["fp32", "bf16", "fp16"], default=["fp32"], help="(fp32)")
    parser.add_argument("--features", action="store_true", help="the last four feature maps in place of class scores")
    parser.add_argument("--reference", metavar="MODEL", help="whose outputs all models must equal (each model's own)")
    parser.add_argument("--repetitions", type=int, metavar="N", help="rounds (5, or as the preset has it)")
    parser.add_argument(
        "--random-sizes", type=int, default=0, metavar="N", help="N images of random sizes up to --sizes: compilations"
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of --models (%(default)s)")
    parser.add_argument("--threads", type=int, metavar="N", help="of PyTorch (its default, one a core)")
    parser.add_argument("--out", metavar="DIR", default="work_dirs/benchmark", help="for results (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all measured, 1 a model failed or differs from its reference, 2 wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    args.command = shlex.join(["python", "tools/benchmark.py", *(sys.argv[1:] if argv is None else argv)])
    for name, least in dict(batch=1, repetitions=1, threads=1, random_sizes=0).items():
        value = getattr(args, name)
        if value is not None and value < least:
            parser.error(f"--{name.replace('_', '-')} is {value}; give a whole number from {least}")
    out = Path(args.out)
    if out.exists() and not out.is_dir():
        return _fail(f"--out {out} is a file. Give a folder.")

    from maxvit_dense.benchmark import session
    from maxvit_dense.errors import InputError

    try:
        groups = _groups(args)
        session.check_groups(groups)
    except InputError as error:
        return _fail(error)
    started = time.monotonic()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        running = session.Session(Path(folder), args.threads, _progress)
        for group in groups:
            rows += running.run(group)
            _write(args, groups, rows, out)  # what is measured stays if a later group is interrupted
    _progress(f"{time.monotonic() - started:.0f} s; results in {out}")
    return int(any(row.problem for row in rows))


def _groups(args: argparse.Namespace) -> tuple:
    from dataclasses import replace

    from maxvit_dense.benchmark.presets import PRESETS
    from maxvit_dense.benchmark.specs import Group, Workload, parse_size

    if args.preset:
        changed = {} if args.repetitions is None else dict(repetitions=args.repetitions)
        return tuple(replace(group, **changed) for group in PRESETS[args.preset])
    groups = []
    for mode, dtype, size in dict.fromkeys(product(args.modes, args.dtypes, args.sizes)):
        workload = Workload(mode, args.batch, parse_size(size), dtype, args.features, args.device)
        title = f"{mode}, {args.batch} x {size}, {dtype}, {args.device}{', feature maps' if args.features else ''}"
        groups.append(
            Group(
                title,
                tuple(args.models),
                workload,
                args.repetitions or 5,
                random_sizes=args.random_sizes,
                reference=args.reference,
            )
        )
    return tuple(groups)


def _write(args: argparse.Namespace, groups: tuple, rows: list, out: Path) -> None:
    """Prints the newest group and rewrites the files."""
    from maxvit_dense.benchmark import machine, plot, report

    newest = [row for row in rows if row.group == rows[-1].group]
    print(report.table(newest), end="\n\n", flush=True)
    report.write_csv(rows, out / "results.csv")
    report.write_json(groups, rows, machine.describe(args.threads), args.command, out / "results.json")
    if newest[0].group == groups[-1].title:
        print(report.summary(groups, rows), flush=True)
        if len({row.workload.size for row in rows if row.seconds}) > 1:
            try:
                plot.draw(rows, out / "results.png")
            except ModuleNotFoundError as error:
                _progress(f"no picture: {error.name} is not installed")


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _fail(message: object) -> int:
    print(f"benchmark: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
