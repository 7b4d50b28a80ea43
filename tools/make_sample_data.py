"""Draw the sample data set: `python tools/make_sample_data.py data/sample`."""

import argparse
import os
import sys
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a checkout that was not installed

from maxvit_dense.sample_data import CLASSES, Parameters, SampleDataConflict, write_sample_data  # noqa: E402

_MOST_WORKERS = 8  # by default: more gain little, the whole set takes seconds


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=f"Draw images of {len(CLASSES)} kinds of shapes ({', '.join(CLASSES)}) with exact "
        "annotations, in COCO, ADE20K and ImageFolder layouts. The same options draw the same bytes. A run "
        "over a finished data set of the same options does nothing."
    )
    parser.add_argument("out_dir", help="directory to write; it appears when everything is drawn")
    numbers = {
        "train": "training scenes; a class folder holds half as many pictures",
        "val": "validation scenes; a class folder holds half as many pictures",
        "size": "pixels; heights and widths vary by a fifth about it",
        "seed": "of the random numbers",
    }
    for name, meaning in numbers.items():
        _add_number(parser, name, getattr(Parameters, name), meaning)
    _add_number(parser, "workers", min(_usable_cpus(), _MOST_WORKERS), "processes that draw")
    parser.add_argument("--force", action="store_true", help="redraw over a sample data set that differs")
    return parser


def _add_number(parser: argparse.ArgumentParser, name: str, default: int, meaning: str) -> None:
    parser.add_argument(f"--{name}", type=int, default=default, metavar="N", help=f"{meaning} ({default})")


def _usable_cpus() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _Progress:
    """Pictures done, on stderr: one line kept up to date on a terminal, else a line each quarter."""

    def __init__(self):
        self.terminal = sys.stderr.isatty()
        self.shown = -1

    def __call__(self, done: int, total: int) -> None:
        percent = 100 * done // total
        if percent == self.shown or not (self.terminal or percent % 25 == 0):
            return
        self.shown = percent
        line = f"drawing sample data: {done}/{total} pictures, {percent}%"
        end = "\n" if done == total or not self.terminal else ""
        print(f"\r{line}" if self.terminal else line, end=end, file=sys.stderr, flush=True)

    def close(self) -> None:
        """End the line kept up to date, so that a message does not run on from it."""
        if self.terminal and self.shown not in (-1, 100):
            print(file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 the data set is there, 1 drawing failed, 2 it cannot be drawn as asked."""
    args = _parser().parse_args(argv)
    options = {name: value for name, value in vars(args).items() if name != "out_dir"}
    try:
        with closing(_Progress()) as progress:
            drawn = write_sample_data(args.out_dir, **options, progress=progress)
    except (ValueError, SampleDataConflict) as error:
        return _fail(str(error), 2)
    except OSError as error:
        advice = "nothing there was changed. Free space, allow writing, or name another directory"
        return _fail(f"cannot write {args.out_dir}: {error}; {advice}.", 2)
    except BrokenProcessPool:
        return _fail("a drawing process was killed, for want of memory perhaps; try --workers 1.", 1)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed.", 1)
    state = "drawn" if drawn else "already there, complete, nothing drawn"
    print(f"sample data in {args.out_dir}: {args.train} + {args.val} scenes, {state}")
    return 0


def _fail(message: str, code: int) -> int:
    print(f"make_sample_data: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
