"""Find objects in images of one's own: `maxvit-dense predict work_dirs/my_run photos/ --out found.json`."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # python tools/predict.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

_FORMATS = ("coco", "yolo", "labelme", "labelstudio", "masks", "csv")  # those of maxvit_dense.predict.write
_RUNTIMES = ("onnxruntime", "openvino", "torch")
_EXPORTED = (".onnx", ".xml", ".pt2")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description="Detect, segment or classify images: pictures of what was found, and results as files. Input that "
        "cannot be used gets one message and exit code 2, and nothing is written; an image of many that cannot be read "
        "is named, the others are done, and the exit code is 1.",
        usage="%(prog)s (CONFIG CHECKPOINT | WORK_DIR | EXPORTED) SOURCE [options]",
    )
    parser.add_argument(
        "model",
        nargs="+",
        metavar="CONFIG CHECKPOINT",
        help="a config (a file, or the name of one of the package's) and a checkpoint; or a run's work dir, for both; "
        "or what maxvit-dense export wrote (its folder, .onnx, .xml, .pt2), which needs no OpenMMLab",
    )
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="an image, a folder (with its subfolders), a pattern like 'photos/*.jpg', a .txt that lists images, a "
        "video, or a webcam's number",
    )
    parser.add_argument(
        "--pictures", default="predictions", metavar="DIR", help="folder for pictures (%(default)s); none: no pictures"
    )
    parser.add_argument(
        "--out",
        metavar="PATH",
        help="results: a .json (COCO's results), a .csv (top 5 of a classifier), or a folder with a file an image",
    )
    parser.add_argument("--format", choices=_FORMATS, help="of --out, where its suffix does not tell")
    parser.add_argument("--score", type=float, default=0.5, metavar="S", help="least score of an object (%(default)s)")
    parser.add_argument("--classes", metavar="A,B", help="look for these alone")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="images at once (%(default)s)")
    parser.add_argument(
        "--tile", type=int, metavar="N", help="cut large images into tiles of N pixels (1024 say); GeoTIFF too"
    )
    parser.add_argument("--overlap", type=int, default=128, metavar="N", help="pixels that tiles share (%(default)s)")
    parser.add_argument("--frames", type=int, metavar="N", help="stop after N frames of a video or a webcam")
    parser.add_argument("--tta", action="store_true", help="several scales and flips of each image, merged")
    parser.add_argument("--runtime", choices=_RUNTIMES, help="for an exported file (the one that it was written for)")
    parser.add_argument("--device", metavar="NAME", help="cpu, cuda, cuda:1 (a GPU if there is one)")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all images predicted, 1 some could not be read, 2 the input cannot be used."""
    parser = _parser()
    args = parser.parse_intermixed_args(argv)  # options may stand between
    if args.tile is not None and not 0 <= args.overlap < args.tile:
        parser.error(f"--tile {args.tile} must be larger than --overlap {args.overlap}")
    exported = _is_exported(args.model[0])
    if len(args.model) > (1 if exported else 2):
        parser.error(f"give a config and a checkpoint, a work dir or an exported file, then one source: {args.model}")
    if exported and (args.tta or args.device) or args.runtime and not exported:
        parser.error("--tta and --device are for checkpoints, --runtime is for exported files")
    if not 0 <= args.score <= 1 or min(args.batch, 1 if args.frames is None else args.frames) < 1:
        parser.error("--score lies between 0 and 1, --batch and --frames are 1 or more")

    from maxvit_dense.errors import InputError

    try:
        return _predict(args)
    except InputError as error:
        print(f"predict: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"predict: {error}. Give other places, that can be written and have room.", file=sys.stderr)
        return 2


def _predict(args: argparse.Namespace) -> int:
    from maxvit_dense.errors import InputError
    from maxvit_dense.predict.images import find_images, is_stream
    from maxvit_dense.predict.run import run, run_tiles, save_picture

    if is_stream(args.source):
        return _predict_stream(args)
    if args.frames:
        raise InputError("--frames is for videos and webcams. Leave it out.")
    pictures = None if args.pictures in ("", "none") else Path(args.pictures)
    items = find_images(args.source, leave_out=[Path(path) for path in (pictures, args.out) if path])
    job = _job(args)
    _prepare(job, args, items, [pictures / item.name for item in items] if pictures else [])
    job.show = pictures and partial(save_picture, pictures)
    if args.tile:
        progress = run_tiles(job, items, args.tile, args.overlap)
    else:
        progress = run(job, items, len(items))
    _summary(job, progress, pictures)
    return 1 if job.unreadable else 0


def _predict_stream(args: argparse.Namespace) -> int:
    """A video, or a webcam until it is interrupted; the pictures are a video again."""
    from contextlib import nullcontext

    from maxvit_dense.errors import InputError
    from maxvit_dense.predict.run import run
    from maxvit_dense.predict.video import Stream, film

    if args.tile or args.format in ("labelme", "labelstudio"):
        option = "--tile" if args.tile else f"--format {args.format}"
        raise InputError(f"{option} is for images. Cut the video into images, or leave it out.")
    stream = Stream(args.source, args.frames)
    job = _job(args)
    job.stream = True
    path = None if args.pictures in ("", "none") else Path(args.pictures) / f"{stream.name}.mp4"
    _prepare(job, args, [], [path] if path else [], [stream.path])
    with film(path, stream.rate) if path else nullcontext() as job.show:
        progress = run(job, stream.frames(), stream.total)
    _summary(job, progress, path)
    if stream.broken_off:
        print(f"predict: {args.source} breaks off: it has {stream.total} frames by its header", file=sys.stderr)
    return 1 if job.unreadable or stream.broken_off else 0


def _job(args: argparse.Namespace) -> Any:
    from maxvit_dense.errors import InputError
    from maxvit_dense.predict.run import Job

    predictor = _load(args)
    if predictor.task == "features":
        raise InputError(f"{args.model[0]} is a backbone, which finds nothing by itself. Give a whole model.")
    if args.tile and predictor.task == "classification":
        raise InputError("--tile is for detectors and segmentors: a classifier looks at an image whole. Leave it out.")
    return Job(predictor, args.batch, args.score)


def _is_exported(model: str) -> bool:
    """Whether it is a file that `maxvit-dense export` wrote, or its folder."""
    parts = [Path(model) / f"model{suffix}" for suffix in (".json", *_EXPORTED)]
    return Path(model).suffix in _EXPORTED or any(part.is_file() for part in parts)


def _load(args: argparse.Namespace) -> Any:
    if _is_exported(args.model[0]):
        from maxvit_dense.runtime import load as open_exported

        return open_exported(args.model[0], args.runtime, score=args.score)
    from maxvit_dense.openmmlab.inference.predictor import load

    return load(*args.model, device=args.device, batch=args.batch, tta=args.tta, score=args.score)


def _prepare(job: Any, args: argparse.Namespace, items: list, pictures: list[Path], sources: Any = ()) -> None:
    """What the job writes and looks for; refuses what would overwrite an image or a video."""
    from maxvit_dense.predict.images import check_targets
    from maxvit_dense.predict.run import class_labels
    from maxvit_dense.predict.write import FORMATS, choose_format

    predictor = job.predictor
    job.labels = class_labels(args.classes, predictor.classes) if args.classes else None
    targets = list(pictures)
    if args.out:
        kind = FORMATS[choose_format(args.format, Path(args.out), predictor.task)]
        job.writer = kind(Path(args.out), predictor.classes, getattr(predictor, "mask_values", None))
        targets += job.writer.targets(items)
    check_targets(targets, [*(item.path for item in items), *sources])


def _summary(job: Any, progress: Any, pictures: Path | None) -> None:
    found = "" if job.objects is None else f", {job.objects} objects"
    lost = f", {len(job.unreadable)} could not be read" if job.unreadable else ""
    places = ", ".join(str(place) for place in (pictures, job.writer and job.writer.out) if place)
    print(f"{job.done} images{found}{lost}, {progress.rate:.2f} {progress.unit}/s: {places or 'nothing written'}")


if __name__ == "__main__":
    sys.exit(main())
