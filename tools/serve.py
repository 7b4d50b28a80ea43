"""Try a trained model on a page of this machine: `maxvit-dense serve work_dirs/my_run`."""

import argparse
import importlib.util
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

if not __package__:  # python tools/serve.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="A page that shows boxes, masks and scores of an image dropped into it, and which block and grid "
        "windows a chosen pixel attends to. It answers this machine alone, and keeps nothing.",
        usage="%(prog)s (CONFIG CHECKPOINT | WORK_DIR) [options]",
    )
    parser.add_argument("config", help="a config (a file, or the name of one of the package's), or a run's work dir")
    parser.add_argument("checkpoint", nargs="?", help="weights (the work dir's last)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (a GPU if there is one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to answer at (%(default)s: this machine alone)")
    parser.add_argument("--port", type=int, default=7860, help="(%(default)s)")
    parser.add_argument("--limit", type=int, default=20, metavar="MB", help="largest upload (%(default)s)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 after an interrupt, 2 the input cannot be used, 143 SIGTERM."""
    parser = _parser()
    args = parser.parse_args(argv)
    if not 0 < args.port < 65536 or args.limit < 1:
        parser.error("--port lies between 1 and 65535, --limit is 1 or more")
    if importlib.util.find_spec("gradio") is None:
        print('serve: this needs gradio: pip install "maxvit_dense[serve]"', file=sys.stderr)
        return 2
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

    try:
        with socket.socket(socket.AF_INET6 if ":" in args.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one closed just now is no hindrance
            probe.bind((args.host, args.port))
    except OSError as error:
        place = f"{args.host}:{args.port}"
        print(f"serve: no page can be at {place} ({error}). Give another --host or --port.", file=sys.stderr)
        return 2

    from maxvit_dense.errors import InputError
    from maxvit_dense.openmmlab.inference.predictor import load

    try:
        predictor = load(args.config, args.checkpoint, device=args.device)
    except InputError as error:
        print(f"serve: {error}", file=sys.stderr)
        return 2

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that uploads are removed
    with tempfile.TemporaryDirectory() as folder:
        os.environ["GRADIO_TEMP_DIR"] = folder  # uploads; read as gradio is imported
        from maxvit_dense.openmmlab.inference.page import serve

        serve(predictor, Path(args.checkpoint or args.config).name, args.host, args.port, args.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
