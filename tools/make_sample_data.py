"""Draw the sample data set: `python tools/make_sample_data.py data/sample`."""

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

if not __package__:  # python tools/make_sample_data.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"


def _number(kind: type, least: float, most: float) -> Callable[[str], float]:
    """An argparse type: a number of a kind within limits."""

    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not least <= value <= most:
            name = "whole number" if kind is int else "number"
            raise argparse.ArgumentTypeError(f"{text!r} given; give a {name} from {least} to {most}")
        return value

    return read


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Draw images of circles, squares, triangles, stars, rings and crosses with exact annotations, in "
        "COCO, ADE20K and ImageFolder layouts. The same options draw the same bytes. A run over a finished data set "
        "of the same options does nothing.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("out_dir", help="directory to write; it appears when everything is drawn")
    scenes = "scenes; a class folder holds half as many pictures"
    many, threads = _number(int, 1, 1_000_000), min(os.cpu_count() or 1, 4)
    parser.add_argument("--train", type=many, default=400, metavar="N", help=f"training {scenes}")
    parser.add_argument("--val", type=many, default=80, metavar="N", help=f"validation {scenes}")
    size = _number(int, 32, 2048)
    parser.add_argument("--size", type=size, default=160, metavar="N", help="pixels, about which sides vary by a fifth")
    parser.add_argument(
        "--aspect",
        type=_number(float, 1, 4),
        metavar="R",
        help="sides in ratios from 1:R to R:1 (sides vary by a fifth each, up to 1:1.5)",
        default=argparse.SUPPRESS,
    )
    parser.add_argument("--seed", type=_number(int, 0, 2**32 - 1), default=0, metavar="N", help="of the random numbers")
    parser.add_argument("--workers", type=_number(int, 1, 64), default=threads, metavar="N", help="threads that draw")
    parser.add_argument("--force", action="store_true", help="redraw over a sample data set that differs")
    return parser


def _show_progress(done: int, total: int) -> None:
    """A line each quarter."""
    if 4 * done // total > 4 * (done - 1) // total:
        print(f"drawing sample data: {done}/{total} pictures", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 the data set is there, 1 interrupted, 2 it cannot be drawn as asked."""
    options = vars(_parser().parse_args(argv))
    out_dir = options.pop("out_dir")
    if not out_dir or "\0" in out_dir:
        return _fail(f"{out_dir!r} is no directory's name; give one to write", 2)

    from maxvit_dense.errors import InputError  # with torch, which takes seconds
    from maxvit_dense.sample_data import write_sample_data

    try:
        drawn = write_sample_data(out_dir, **options, progress=_show_progress)
    except InputError as error:
        return _fail(str(error), 2)
    except OSError as error:
        advice = "nothing there was changed. Free space, allow writing, or name another directory"
        return _fail(f"cannot write {out_dir}: {error}; {advice}.", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was changed.", 1)
    state = "drawn" if drawn else "already there, complete, nothing drawn"
    print(f"sample data in {out_dir}: {options['train']} + {options['val']} scenes, {state}")
    return 0


def _fail(message: str, code: int) -> int:
    print(f"make_sample_data: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
