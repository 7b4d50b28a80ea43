"""Evaluate a checkpoint: `maxvit-dense test maskrcnn_maxvit_t_coco checkpoint.pth`."""

import argparse
import os
import sys
from pathlib import Path

if not __package__:  # python tools/test.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

from ._arguments import CONFIG_HELP, add_run_arguments, fail, outcome, start

_OUT_SUFFIXES = (".json", ".pkl")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Evaluate a checkpoint with mmengine's Runner and print its metrics. Input that cannot "
        "be used gets one message and exit code 2, and nothing is written."
    )
    parser.add_argument("config", help=CONFIG_HELP)
    parser.add_argument("checkpoint", help="weights to evaluate: .pth of a training run, or .safetensors")
    parser.add_argument(
        "--tta",
        action="store_true",
        help="test-time augmentation: every image at several scales, flipped too, and the results merged; the "
        "config's tta_pipeline and tta_model, else 0.5-1.75 times its test scale for segmentation (12 views) and "
        "0.5, 1, 1.5 times for detection (6 views)",
    )
    parser.add_argument(
        "--show-dir", metavar="DIR", help="write each image here, annotated truth left and what was found right"
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="NAME.json: metrics, and for COCO data the results in COCO's format as NAME.bbox.json and "
        "NAME.segm.json; NAME.pkl: all predictions as a pickle",
    )
    add_run_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 evaluated, 2 the input cannot be used; a failing evaluation raises."""
    parser = _parser()
    args = parser.parse_args(argv)
    if args.out and not args.out.endswith(_OUT_SUFFIXES):
        parser.error(f"--out must end in {' or '.join(_OUT_SUFFIXES)}, not {args.out!r}")
    mistake = f"--out {args.out} is a folder. Name a file." if args.out and os.path.isdir(args.out) else start(args)
    if mistake:
        return fail("test", mistake)

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.data import choice
    from maxvit_dense.openmmlab.engine import prepare
    from maxvit_dense.openmmlab.report import evaluation

    try:
        cfg = prepare.prepare_test(
            args.config,
            args.checkpoint,
            overrides=args.cfg_options,
            work_dir=args.work_dir,
            data_root=args.data_root,
            choice=choice.choice_of(args.classes, args.rename, args.void, args.boxes_as_masks),
            launcher=args.launcher,
            tta=args.tta,
            show_dir=args.show_dir,
            out=args.out,
        )
        runner = prepare.build_runner(cfg, suffix="_test")
    except InputError as error:
        return fail("test", error, args.cfg_options)
    return outcome("test", lambda: evaluation.report_metrics(runner.test(), cfg, args.out))


if __name__ == "__main__":
    sys.exit(main())
