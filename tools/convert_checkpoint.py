"""Convert MaxViT weights: `python tools/convert_checkpoint.py work_dirs/my_run my_weights`."""

import argparse
import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # a checkout that was not installed

_EPILOG = """\
sources:
  work_dirs/my_run            work dir of a finished run, for its last checkpoint; or a .pth of it
  maxvit_t-bc5ab103.pth       torchvision's weights
  model.safetensors, x.pth    weights of timm or this project, a whole detector among them
  maxvit_t.in1k_384           published weights by name, from the hub or the local cache
  maxvittiny/model.ckpt-1     official TensorFlow checkpoint (prefix or folder), where TensorFlow is installed
  dump.npz                    its variables; elsewhere, where TensorFlow is, run these two lines of Python:
    import numpy as np, tensorflow as tf; ckpt = tf.train.load_checkpoint("CHECKPOINT")
    np.savez("dump.npz", **{n: ckpt.get_tensor(n) for n in ckpt.get_variable_to_shape_map() if n[0] != "_"})

targets:
  my_weights.safetensors      the weights alone
  my_weights                  folder in timm's hub form, with card.json: what they are and where they come from

Use them:  timm.create_model("local-dir:my_weights", pretrained=True)
           timm.create_model("maxvit_t", checkpoint_path="my_weights/model.safetensors")
           init_cfg=dict(type="Pretrained", checkpoint="my_weights/model.safetensors")
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Write MaxViT weights of any origin as safetensors in timm's layout. Input that cannot be used "
        "gets one message and exit code 2, and nothing is written.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", help="weights to read, see below")
    parser.add_argument("target", help="NAME.safetensors, or a folder")
    parser.add_argument("--raw", action="store_true", help="the weights themselves; by default their average (EMA)")
    parser.add_argument(
        "--resize",
        metavar="SIZE",
        help="write bias tables resized bilinearly for images of this many pixels (384, 512x640) or a window "
        "(window=12, window=16x20); without it they keep their size and are resized while the network runs",
    )
    parser.add_argument(
        "--tag", help="published tag (in1k_384, ...) whose normalisation, size and crop config.json should state"
    )
    parser.add_argument("--force", action="store_true", help="replace what an earlier conversion wrote to the target")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 written, 2 the input cannot be used."""
    args = _parser().parse_args(argv)
    is_name = args.source.startswith("maxvit_")
    if not (is_name or os.path.exists(args.source) or os.path.exists(args.source + ".index")):
        return _fail(f"There is no {args.source}. Check the path; --help lists what can be read.")

    from maxvit_dense.errors import InputError
    from maxvit_dense.export.sources import read_source
    from maxvit_dense.export.write import check_target, parse_resize, prepare, write

    if not args.target.strip():
        return _fail("The target is empty. Name a file NAME.safetensors, or a folder.")
    target = Path(os.path.abspath(args.target))
    try:
        check_target(target, args.force)
        if args.resize is not None:
            parse_resize(args.resize)
        export = prepare(read_source(args.source, averaged=not args.raw), args.resize, args.tag)
        write(export, target, args.force)
    except (InputError, OSError) as error:
        return _fail(error)
    if export.assumed and target.suffix != ".safetensors":
        print(
            "convert_checkpoint: nothing tells how images were prepared; config.json says as for tag "
            f"{export.assumed}, and a window of {export.window_size}. Name another tag with --tag.",
            file=sys.stderr,
        )
    tables = " x ".join(str(2 * side - 1) for side in export.network.table_window)
    print(f"{export.card['architecture']}, {export.card['weights']} weights, tables {tables}: {args.target}")
    return 0


def _fail(message: object) -> int:
    print(f"convert_checkpoint: {message}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
