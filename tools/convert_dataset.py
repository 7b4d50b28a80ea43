"""Convert any known data set to one that training reads: `maxvit-dense convert-dataset my_voc/ my_coco/`."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if not __package__:  # python tools/convert_dataset.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

from ._arguments import add_void_argument


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
    parser.add_argument(
        "--classes",
        metavar="FILE|NAMES",
        help="file of the class names in the order of labels, one a line; or the names to keep: person,car",
    )
    parser.add_argument(
        "--rename", metavar="FILE.json", help='classes to merge, rename or drop: {"bus": "vehicle", "sky": null}'
    )
    parser.add_argument("--boxes-as-masks", action="store_true", help="objects without a mask get their box as one")
    add_void_argument(parser)
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
    if not os.path.isdir(args.source):
        return _fail(f"There is no folder {args.source}. Give that of the data set.")

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.data.formats import FOLDERS, FORMATS, MASKS, find_format

    root, by_option = Path(args.source), {name.lower(): name for name in (*FORMATS, MASKS)}
    try:
        kind = by_option[args.format] if args.format else find_format(root)
        if kind == FOLDERS:
            return _fail(f"{root} has class folders, which training reads as they are: nothing to convert.")
        return _convert_masks(args, root) if kind == MASKS else _convert_boxes(args, root, kind)
    except InputError as error:
        return _fail(error)


def _convert_boxes(args: argparse.Namespace, root: Path, kind: str) -> int:
    from maxvit_dense.openmmlab.data import convert, formats

    names, listed = _named(args.classes)
    if kind == "COCO":
        formats.check_coco(root)
    source = formats.FORMATS[kind].read(root, listed, args.val_fraction)
    if args.rename:
        source.rename(_renaming(args.rename))
    if names:
        source.keep(names)
    filled = source.boxes_as_masks() if args.boxes_as_masks else 0
    convert.write_coco(source, root, args.target, args.copy)
    if source.divided:
        print(f"convert_dataset: {args.val_fraction:.0%} of the images drawn for validation", file=sys.stderr)
    if filled:
        print(f"convert_dataset: {filled} boxes stand for the masks of their objects", file=sys.stderr)
    for note in (fault for fault in source.faults() if not fault.fatal):
        print(f"convert_dataset: {note}", file=sys.stderr)
    print(f"{source.kind} to COCO in {args.target}\n{convert.count_table(source)}")
    return 0


def _convert_masks(args: argparse.Namespace, root: Path) -> int:
    from maxvit_dense.openmmlab.data import convert, mask_check
    from maxvit_dense.openmmlab.data.faults import refuse

    names, listed = _named(args.classes)
    if args.rename or args.boxes_as_masks or names:
        return _fail("--rename, --boxes-as-masks and a choice of --classes are about boxes; classes.json names masks'.")
    folder, labels, faults = mask_check.read_folder(root, args.classes if listed else None, args.void)
    refuse(faults, root, "converted")
    counts = convert.write_masks(folder, labels, args.target, args.copy, args.val_fraction)
    counted = ", ".join(f"{count} {split}" for split, count in counts.items())
    print(f"{folder.kind} to images and masks in {args.target}: {counted}, {len(labels.named)} classes")
    return 0


def _named(classes: str | None) -> tuple[list[str], Sequence[str]]:
    """The classes to keep, or all of a list of them: by whether ``classes`` is a file."""
    from maxvit_dense.openmmlab.data.sources import read_class_file

    if not classes:
        return [], ()
    if os.path.isfile(classes) or classes.endswith((".txt", ".json")):
        return [], read_class_file(classes)
    return [name.strip() for name in classes.split(",") if name.strip()], ()


def _renaming(path: str) -> dict[str, Any]:
    from maxvit_dense.errors import InputError

    try:
        content = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"--rename {path} cannot be read ({error}). Correct it.") from error
    if not isinstance(content, dict) or not all(isinstance(name, str | None) for name in content.values()):
        raise InputError(f'--rename {path} holds no object of old and new names, such as {{"bus": "vehicle"}}.')
    return content


def _fail(message: object) -> int:
    print(f"convert_dataset: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
