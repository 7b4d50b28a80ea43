"""Train, evaluate and look at a small Mask R-CNN with a MaxViT backbone: `make demo`.

Draws the sample data set, trains on it, evaluates on images that training has not seen, and writes one picture of
what was found there. Each step is the project's own tool; run again it goes on where it stopped.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

if not __package__:  # python tools/demo.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

CONFIG = "demo_maskrcnn_maxvit_mini_sample"
_ROWS, _COLUMNS, _MARGIN = 4, 3, 8


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default="data/sample", metavar="DIR", help="sample data set (%(default)s)")
    parser.add_argument("--work-dir", default="work_dirs/demo", metavar="DIR", help="results (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="train anew rather than use what the work dir holds")
    return parser


def _say(text: str) -> None:
    print(f"\n== {text}", file=sys.stderr, flush=True)


def write_sheet(pictures: list[Path], path: Path) -> None:
    """Lays pictures out in rows of one sheet, scaled to the same width; written aside, then renamed."""
    from PIL import Image

    images = [Image.open(picture).convert("RGB") for picture in pictures[: _ROWS * _COLUMNS]]
    width = 2 * max(image.width for image in images)
    images = [image.resize((width, round(image.height * width / image.width))) for image in images]
    height = max(image.height for image in images)
    rows = -(-len(images) // _COLUMNS)
    size = (_COLUMNS * (width + _MARGIN) + _MARGIN, rows * (height + _MARGIN) + _MARGIN)
    sheet = Image.new("RGB", size, "white")
    for i, image in enumerate(images):
        row, column = divmod(i, _COLUMNS)
        sheet.paste(image, (_MARGIN + column * (width + _MARGIN), _MARGIN + row * (height + _MARGIN)))
    aside = path.with_suffix(".part.png")
    sheet.save(aside)
    aside.replace(path)


def _train(data: Path, work_dir: Path) -> int:
    from .train import main as train

    arguments = [CONFIG, "--data-root", str(data / "coco"), "--work-dir", str(work_dir)]
    if (work_dir / "last_checkpoint").is_file():
        arguments.append("--resume")
    return train(arguments)


def _evaluate(data: Path, work_dir: Path, pictures: Path, metrics: Path) -> int:
    from .test import main as test

    checkpoint = Path((work_dir / "last_checkpoint").read_text().strip())
    arguments = [CONFIG, str(work_dir / checkpoint.name), "--data-root", str(data / "coco")]
    return test([*arguments, "--work-dir", str(work_dir), "--show-dir", str(pictures), "--out", str(metrics)])


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all steps done, else that of the step that failed."""
    args = _parser().parse_args(argv)
    data, work_dir = Path(args.data), Path(args.work_dir)
    begin = time.monotonic()

    from .make_sample_data import main as make_sample_data

    _say(f"1/4 drawing the sample data set in {data}")
    code = make_sample_data([str(data)])
    if code:
        return code

    if args.fresh:
        shutil.rmtree(work_dir, ignore_errors=True)
    _say(f"2/4 training {CONFIG}; loss, time left and memory follow")
    code = _train(data, work_dir)
    if code:
        return code

    _say("3/4 evaluating on images that it has not seen")
    pictures, metrics = work_dir / "pictures", work_dir / "metrics.json"
    shutil.rmtree(pictures, ignore_errors=True)
    code = _evaluate(data, work_dir, pictures, metrics)
    if code:
        return code

    _say("4/4 drawing")
    sheet = work_dir / "demo.png"
    write_sheet(sorted(pictures.glob("*.jpg")) + sorted(pictures.glob("*.png")), sheet)
    found = json.loads(metrics.read_text())["metrics"]
    print(f"\nbox AP50 {found['coco/bbox_mAP_50']:.3f}, mask AP50 {found['coco/segm_mAP_50']:.3f} on unseen images")
    print(f"picture (truth left, found right): {sheet}")
    print(f"{(time.monotonic() - begin) / 60:.1f} minutes after set-up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
