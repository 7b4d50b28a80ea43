"""Draw the curves of several runs in one picture: `maxvit-dense compare-runs work_dirs/a work_dirs/b`."""

import argparse
import sys
from pathlib import Path

if not __package__:  # python tools/compare_runs.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 drawn, 2 the input cannot be used."""
    parser = argparse.ArgumentParser(
        description="Training loss and validation metric of several runs, a column for each kind of task."
    )
    parser.add_argument("runs", nargs="+", type=Path, metavar="WORK_DIR", help="of train, named as the legend shall be")
    parser.add_argument(
        "--out", type=Path, default=Path("compared.png"), metavar="FILE", help=".png, .jpg, .svg, .pdf (%(default)s)"
    )
    args = parser.parse_args(argv)

    from maxvit_dense.files import blocked_file

    if problem := blocked_file(args.out):
        parser.error(f"--out {args.out} cannot be written: {problem}")

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.report.comparison import compare

    try:
        compare(args.runs, args.out)
    except (InputError, OSError, ValueError) as error:
        print(f"compare-runs: {error}", file=sys.stderr)
        return 2
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
