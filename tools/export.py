"""Export a model to run elsewhere: `maxvit-dense export work_dirs/my_run --format onnx`."""

import argparse
import sys
from pathlib import Path
from typing import Any

if not __package__:  # python tools/export.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

_EPILOG = """\
formats:
  onnx       model.onnx, for ONNX Runtime, OpenVINO and others; NMS and RoIAlign are ONNX's own operators
  torch      model.pt2, for torch.export.load; predict runs it too
  openvino   model.xml and model.bin, for OpenVINO

Each folder has model.json too: classes, and how images are prepared. Run it where there is no PyTorch:
  maxvit_dense.runtime.load("exported/my_run-onnx")
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Write a trained model as one program for images of any height, width and number, and compare it "
        "with PyTorch at five sizes. A difference above the tolerance leaves nothing behind, and exit code 1. "
        "RetinaNet, Faster and Mask R-CNN (one image a call), UPerNet, Semantic FPN and classifiers are exported "
        "whole; of other models the backbone.",
        usage="%(prog)s (CONFIG CHECKPOINT | WORK_DIR) [options]",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "model",
        nargs="+",
        metavar="CONFIG CHECKPOINT",
        help="a config (a file, or the name of one of the package's) and a checkpoint; or a run's work dir, for both",
    )
    parser.add_argument("--format", choices=("onnx", "torch", "openvino"), default="onnx", help="(%(default)s)")
    parser.add_argument("--out", metavar="DIR", help="folder to write (exported/NAME-FORMAT)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "int8"),
        default="fp32",
        help="of OpenVINO; int8 is calibrated on the images of --calibrate, without training (%(default)s)",
    )
    parser.add_argument("--calibrate", metavar="SOURCE", help="images like those to come, for int8: folder, pattern")
    parser.add_argument("--images", type=int, default=64, metavar="N", help="of --calibrate, at most (%(default)s)")
    parser.add_argument(
        "--evaluate",
        metavar="DATA_ROOT",
        help="measure the accuracy on its test images before (PyTorch, fp32) and after, by the config's metrics",
    )
    parser.add_argument("--backbone", action="store_true", help="the backbone's maps alone")
    parser.add_argument("--tolerance", type=float, metavar="X", help="largest difference from PyTorch allowed")
    parser.add_argument("--force", action="store_true", help="replace an earlier export")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written, 1 it differs from PyTorch, 2 the input cannot be used."""
    parser = _parser()
    args = parser.parse_args(argv)
    if len(args.model) > 2:
        parser.error(f"give a config and a checkpoint, or a work dir; not {' '.join(args.model)}")
    if (args.precision == "int8") != (args.calibrate is not None):
        parser.error("--calibrate IMAGES belongs to --precision int8, and int8 needs it")
    if args.out == "":
        parser.error("--out is empty; give a folder to write, or leave it out")
    if args.images < 1 or not (args.tolerance is None or args.tolerance >= 0):
        parser.error("--images is 1 or more, --tolerance 0 or more")

    from maxvit_dense.errors import InputError
    from maxvit_dense.export.job import Differs

    try:
        return _export(args)
    except InputError as error:
        print(f"export: {error}", file=sys.stderr)
        return 2
    except Differs as error:
        print(f"export: {error}. Nothing was written.", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"export: {error}. Give another --out, on a disk that can be written and has room.", file=sys.stderr)
        return 2


def _export(args: argparse.Namespace) -> int:
    from maxvit_dense.errors import InputError
    from maxvit_dense.export.formats import check_packages
    from maxvit_dense.export.job import check_target, export, report

    check_packages(args.format, args.precision)
    name = Path(args.model[0]).stem
    suffix = "" if args.precision == "fp32" else f"-{args.precision}"
    if args.evaluate and not Path(args.evaluate).is_dir():
        raise InputError(f"There is no data root {args.evaluate}. Give the folder that holds the data set.")
    target = Path(args.out or f"exported/{name}-{args.format}{suffix}")
    check_target(target, args.force)

    from maxvit_dense.openmmlab.export.whole import make_exportable
    from maxvit_dense.openmmlab.inference.predictor import load

    trained = load(*args.model, device="cpu")
    exportable = make_exportable(trained, name, args.backbone)
    if exportable.left_out:
        print(f"export: the backbone alone; left out are {exportable.left_out}", file=sys.stderr)
    accuracy = _evaluation(args, trained, exportable.card.task) if args.evaluate else None
    inputs = _calibration(args, exportable.card) if args.calibrate else []
    comparison = export(
        exportable,
        args.format,
        target,
        precision=args.precision,
        calibration=inputs,
        tolerance=args.tolerance,
    )
    print(f"{report(comparison)}: {target}")
    if accuracy:
        from maxvit_dense.runtime import load as open_exported

        before, after = accuracy(trained), accuracy(open_exported(target))
        for name, value in before.items():
            print(f"{name}: {value:.4g} in PyTorch, {after[name]:.4g} exported as {args.precision}")
    return 0


def _evaluation(args: argparse.Namespace, trained: Any, task: str) -> Any:
    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.export.accuracy import evaluation

    if task == "features":
        raise InputError("maps have no accuracy; --evaluate is for models that are exported whole. Leave it out.")
    try:
        return evaluation(trained, args.evaluate)
    except InputError as error:
        raise InputError(f"--evaluate {args.evaluate}: {error}") from error


def _calibration(args: argparse.Namespace, card: Any) -> list[dict]:
    """The program's inputs for images spread over those of --calibrate."""
    from maxvit_dense.predict.images import find_images, read_image
    from maxvit_dense.runtime.model import program_inputs

    items = find_images(args.calibrate)
    items = items[:: -(-len(items) // args.images)]
    return [program_inputs(read_image(item.path), card)[0] for item in items]


if __name__ == "__main__":
    sys.exit(main())
