"""Train a model from a config: `maxvit-dense train maskrcnn_maxvit_t_coco --data-root coco/`."""

import argparse
import sys
from pathlib import Path

if not __package__:  # python tools/train.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

from ._arguments import CONFIG_HELP, add_run_arguments, fail, outcome, share, start


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Train a model from a config with mmengine's Runner. Loss, learning rate, time left, "
        "memory and metrics are shown and written to the work dir, for TensorBoard too. Input that cannot "
        "be used gets one message and exit code 2, and nothing is written."
    )
    parser.add_argument("config", help=CONFIG_HELP)
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="CHECKPOINT",
        help="go on from the last checkpoint of the work dir, or from the given one",
    )
    parser.add_argument("--amp", action="store_true", help="mixed precision (GPU only)")
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by the actual batch size over auto_scale_lr.base_batch_size",
    )
    parser.add_argument("--epochs", type=int, metavar="N", help="train so long, and fit the schedule to it")
    parser.add_argument("--lr", type=float, metavar="X", help="learning rate, in place of the config's")
    parser.add_argument(
        "--schedule",
        choices=["fit", "config"],
        default="fit",
        help="where --data-root brings other classes than the config's: steps, warm-up, decay, evaluations and "
        "learning rate by the number of images and the batch, or the config's own (%(default)s)",
    )
    parser.add_argument(
        "--bad-boxes",
        choices=["refuse", "skip"],
        default="refuse",
        help="annotated boxes that reach outside their image: stop and list them, or leave them out of "
        "training (%(default)s)",
    )
    parser.add_argument(
        "--clip-boxes",
        type=share,
        default=0.1,
        metavar="SHARE",
        help="boxes of which no more than this part lies outside their image are clipped (%(default)s)",
    )
    add_run_arguments(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 trained, 1 stopped by NaN, 2 the input cannot be used, 143 SIGTERM; another failure raises."""
    args = _parser().parse_args(argv)
    mistake = start(args)
    if mistake:
        return fail("train", mistake)

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.data import choice
    from maxvit_dense.openmmlab.engine import prepare

    try:
        cfg = prepare.prepare_training(
            args.config,
            overrides=args.cfg_options,
            work_dir=args.work_dir,
            data_root=args.data_root,
            choice=choice.choice_of(args.classes, args.rename, args.void, args.boxes_as_masks),
            bad_boxes=args.bad_boxes,
            clipped=args.clip_boxes,
            resume=args.resume,
            amp=args.amp,
            auto_scale_lr=args.auto_scale_lr,
            launcher=args.launcher,
            epochs=args.epochs,
            lr=args.lr,
            schedule=args.schedule,
        )
        runner = prepare.build_runner(cfg)
    except InputError as error:
        return fail("train", error, args.cfg_options)
    return outcome("train", runner.train)


if __name__ == "__main__":
    sys.exit(main())
