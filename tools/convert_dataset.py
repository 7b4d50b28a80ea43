"""Convert Pascal VOC or YOLO annotations to COCO: `python tools/convert_dataset.py my_voc/ my_coco/`."""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a checkout that was not installed


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Convert a folder of Pascal VOC XML (Annotations/, JPEGImages/, ImageSets/Main/ if there) or YOLO "
        "text (images/, labels/, data.yaml or classes.txt) to a COCO data root for tools/train.py --data-root. Input "
        "that cannot be used gets one message and exit code 2, and nothing is written."
    )
    parser.add_argument("source", help="folder of the data set; it is only read")
    parser.add_argument("target", help="directory to write; it appears when everything is converted")
    parser.add_argument("--format", choices=["voc", "yolo"], help="of the source; by default seen from its folders")
    parser.add_argument("--classes", metavar="FILE", help="class names in the order of labels, one a line")
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
    from maxvit_dense.openmmlab.data import convert, voc_yolo

    root = Path(args.source)
    try:
        kind = args.format or ("voc" if voc_yolo.is_voc(root) else "yolo" if voc_yolo.is_yolo(root) else None)
        if kind is None:
            return _fail(
                f"{root} is neither a VOC folder (Annotations/ and JPEGImages/) nor a YOLO folder (images/ and "
                "labels/). Give the folder that holds these."
            )
        classes = voc_yolo.read_class_file(args.classes) if args.classes else ()
        read = voc_yolo.read_voc if kind == "voc" else voc_yolo.read_yolo
        source = read(root, classes, args.val_fraction)
        convert.write_coco(source, root, args.target, args.copy)
    except InputError as error:
        return _fail(error)
    if source.divided:
        print(f"convert_dataset: {args.val_fraction:.0%} of the images drawn for validation", file=sys.stderr)
    print(f"{source.kind} to COCO in {args.target}\n{convert.count_table(source)}")
    return 0


def _fail(message: object) -> int:
    print(f"convert_dataset: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
