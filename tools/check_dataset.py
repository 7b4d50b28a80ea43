"""Read a data set before anyone trains on it: `python tools/check_dataset.py my_data/ --sheet sheet.png`."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # python tools/check_dataset.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

from ._arguments import add_label_arguments

if TYPE_CHECKING:
    from maxvit_dense.openmmlab.data.choice import Choice


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Count images, sizes and classes of a data set in any known layout (COCO, images and masks, class "
        "folders, Pascal VOC, YOLO, labelme, labelImg), and list what is broken, missing or mistaken. Only reads. Exit "
        "code 0: fit to train on, 1: training would fail or learn from something else than people see, 2: wrong usage."
    )
    parser.add_argument("data", help="folder of the data set")
    parser.add_argument("--sheet", metavar="FILE.png", help="draw samples with their annotations into this picture")
    parser.add_argument("--samples", type=int, default=12, metavar="N", help="images a split on it (%(default)s)")
    add_label_arguments(parser)
    parser.add_argument(
        "--fix",
        metavar="OUT",
        help="write a COCO data root there, in which what has one right answer is put right: boxes clipped, corners "
        "swapped back, area and iscrowd added, ids made unique, rotated images turned upright",
    )
    parser.add_argument("--quick", action="store_true", help="read image headers only, which misses truncated images")
    return parser


def _show_progress(split: str, done: int, total: int) -> None:
    if sys.stderr.isatty() and (done % 100 == 0 or done == total):
        print(f"\r{split}: {done}/{total} images", end="\n" if done == total else "", file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 fit to train on, 1 not, 2 wrong usage."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.sheet and not args.sheet.endswith(".png"):
        parser.error(f"--sheet must end in .png, not {args.sheet!r}")
    if args.samples < 1:
        parser.error(f"--samples is {args.samples}; give a whole number from 1")
    if args.fix is not None and (not args.fix or "\0" in args.fix):
        parser.error(f"--fix is {args.fix!r}, which is no folder's name; give one to write")
    if not os.path.isdir(args.data):
        return _fail(f"There is no folder {args.data}. Give that of a data set.")
    if args.sheet and not os.path.isdir(os.path.dirname(os.path.abspath(args.sheet))):
        return _fail(f"There is no folder for {args.sheet}. Make it first, or name another file.")

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.data import choice
    from maxvit_dense.openmmlab.data.checking import dataset_check, dataset_report

    try:
        chosen = choice.choice_of(args.classes, args.rename, args.void, args.boxes_as_masks)
        if args.fix:
            return _fix(args, chosen)
        report = dataset_check.check_dataset(args.data, chosen, not args.quick, _show_progress)
    except InputError as error:
        return _fail(error)
    print(dataset_report.report_text(report))
    if args.sheet:
        try:
            drawn = dataset_report.write_sheet(report, Path(args.sheet), args.samples)
        except OSError as error:
            return _fail(f"{args.sheet} cannot be written: {error}.")
        print(f"{drawn} images drawn in {args.sheet}")
    return int(report.fails)


def _fix(args: argparse.Namespace, chosen: "Choice") -> int:
    from maxvit_dense.openmmlab.data.formats import convert
    from maxvit_dense.openmmlab.data.formats import find as formats

    root = Path(args.data)
    kind = formats.find_format(root)
    if kind not in formats.FORMATS:
        return _fail(f"--fix mends boxes and polygons; {root} ({kind}) has none. Mend what is listed without it.")
    source = formats.read_boxes(root, kind, chosen, passed=convert.MENDABLE)
    mended = source.mend()
    convert.write_coco(source, root, args.fix)
    told = [f"{count} {what}" for what, count in mended.items()]
    told += [f"{fault.count} {fault.kind}" for fault in source.faults() if fault.kind not in convert.LEFT]
    print(f"{args.fix}: a mended copy of {root} ({kind}). Put right: {', '.join(told) or 'nothing'}.")
    return 0


def _fail(message: object) -> int:
    print(f"check_dataset: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
