"""Convert any known data set to one that training reads: `maxvit-dense convert-dataset my_voc/ my_coco/`."""

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:  # python tools/convert_dataset.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

from ._arguments import add_label_arguments

if TYPE_CHECKING:
    from maxvit_dense.openmmlab.data.choice import Choice


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Convert Pascal VOC, YOLO, labelme, labelImg or COCO files of any names to a COCO data root, and "
        "images with masks of any layout to images/, masks/ and classes.json, for tools/train.py --data-root. Input "
        "that cannot be used gets one message and exit code 2, and nothing is written."
    )
    parser.add_argument("source", help="folder of the data set; it is only read")
    parser.add_argument("target", help="directory to write; it appears when everything is converted")
    parser.add_argument(
        "--format",
        choices=["coco", "voc", "yolo", "labelme", "labelimg", "masks"],
        help="of the source; by default seen from the folder",
    )
    add_label_arguments(parser)
    parser.add_argument(
        "--val-fraction",
        type=float,
        default=0.2,
        metavar="PART",
        help="images drawn for validation where the source does not divide them, between 0 and 1 (%(default)s)",
    )
    parser.add_argument("--copy", action="store_true", help="copy the images; by default they are hard links")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 converted, 2 the input cannot be used."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not 0 < args.val_fraction < 1:
        parser.error(f"--val-fraction is {args.val_fraction:g}; give a part between 0 and 1")
    if not args.target or "\0" in args.target:
        return _fail(f"{args.target!r} is no folder's name. Give one to write.")
    if not os.path.isdir(args.source):
        return _fail(f"There is no folder {args.source}. Give that of the data set.")

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.data.choice import choice_of
    from maxvit_dense.openmmlab.data.formats.find import FOLDERS, FORMATS, MASKS, find_format

    root, by_option = Path(args.source), {name.lower(): name for name in (*FORMATS, MASKS)}
    try:
        kind = by_option[args.format] if args.format else find_format(root)
        if kind == FOLDERS:
            return _fail(f"{root} has class folders, which training reads as they are: nothing to convert.")
        chosen = choice_of(args.classes, args.rename, args.void, args.boxes_as_masks)
        return _convert_masks(args, root, chosen) if kind == MASKS else _convert_boxes(args, root, kind, chosen)
    except InputError as error:
        return _fail(error)


def _convert_boxes(args: argparse.Namespace, root: Path, kind: str, chosen: "Choice") -> int:
    from maxvit_dense.openmmlab.data.formats import convert
    from maxvit_dense.openmmlab.data.formats import find as formats

    source = formats.read_boxes(root, kind, chosen, args.val_fraction)
    convert.write_coco(source, root, args.target, args.copy)
    if source.divided:
        print(f"convert_dataset: {args.val_fraction:.0%} of the images drawn for validation", file=sys.stderr)
    if source.filled:
        print(f"convert_dataset: {source.filled} boxes stand for the masks of their objects", file=sys.stderr)
    for note in (fault for fault in source.faults() if not fault.fatal):
        print(f"convert_dataset: {note}", file=sys.stderr)
    print(f"{source.kind} to COCO in {args.target}\n{convert.count_table(source)}")
    return 0


def _convert_masks(args: argparse.Namespace, root: Path, chosen: "Choice") -> int:
    from maxvit_dense.openmmlab.data.checking import dataset_check
    from maxvit_dense.openmmlab.data.faults import refuse
    from maxvit_dense.openmmlab.data.formats import convert

    if args.boxes_as_masks:
        return _fail(f"--boxes-as-masks is about annotated boxes, and {root} holds masks. Leave it out.")
    folder, labels, splits = dataset_check.read_folder(root, chosen, by_colour=True)
    refuse((fault for split in splits for fault in split.faults), root, "converted")
    counts = convert.write_masks(folder, labels, args.target, args.copy, args.val_fraction)
    counted = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{folder.kind} to images and masks in {args.target}: {counted}, {len(labels.classes)} classes")
    return 0


def _fail(message: object) -> int:
    print(f"convert_dataset: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
