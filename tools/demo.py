"""Train, evaluate and use a small Mask R-CNN with a MaxViT backbone: `make demo`.

Draws the sample data set, trains on it, evaluates on images that training has not seen, exports the model, and predicts
some of them with what was exported into one picture. Each step is the project's own tool; run again it goes on where it
stopped.
"""

import argparse
import importlib.util
import json
import shutil
import sys
import time
from pathlib import Path

if not __package__:  # python tools/demo.py, of a checkout
    sys.path.insert(1, str(Path(__file__).resolve().parents[1]))
    __package__ = "tools"

_CONFIG = "demo_maskrcnn_maxvit_mini_sample"
_ROWS, _COLUMNS, _CELL = 2, 4, 360


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--data", default="data/sample", metavar="DIR", help="sample data set (%(default)s)")
    parser.add_argument("--work-dir", default="work_dirs/demo", metavar="DIR", help="results (%(default)s)")
    parser.add_argument("--fresh", action="store_true", help="train anew rather than use what the work dir holds")
    return parser


def _say(text: str) -> None:
    print(f"\n== {text}", file=sys.stderr, flush=True)


def _write_sheet(pictures: list[Path], path: Path) -> None:
    """Lays pictures out in rows of one sheet."""
    from PIL import Image, ImageOps

    from maxvit_dense.files import file_written_aside

    sheet = Image.new("RGB", (_COLUMNS * _CELL, -(-len(pictures) // _COLUMNS) * _CELL), "white")
    for i, picture in enumerate(pictures):
        image = ImageOps.pad(Image.open(picture).convert("RGB"), (_CELL - 8, _CELL - 8), color="white")
        sheet.paste(image, (i % _COLUMNS * _CELL + 4, i // _COLUMNS * _CELL + 4))
    with file_written_aside(path) as partial:
        sheet.save(partial, "PNG")


def export_model(work_dir: Path) -> tuple[int, Path]:
    """Exit code, and what predicts: the exported model, or the work dir where this PyTorch exports none."""
    from . import export

    if importlib.util.find_spec("torch.fx.experimental.dynamic_spec") is None:
        _say("4/5 exporting needs PyTorch 2.14: left out")
        return 0, work_dir
    with_onnx = all(importlib.util.find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
    form = "onnx" if with_onnx else "torch"
    exported = work_dir / f"exported-{form}"
    _say(f"4/5 exporting the model to {exported} (one to two minutes)")
    return export.main([str(work_dir), "--format", form, "--out", str(exported), "--force"]), exported


def main(argv: list[str] | None = None) -> int:
    """Exit code: 0 all steps done, else that of the step that failed."""
    args = _parser().parse_args(argv)
    data, work_dir = Path(args.data), Path(args.work_dir)
    pictures, metrics, sheet = work_dir / "predictions", work_dir / "metrics.json", work_dir / "demo.png"
    common = [_CONFIG, "--data-root", str(data / "coco"), "--work-dir", str(work_dir)]
    begin = time.monotonic()

    from maxvit_dense.work_dir import last_checkpoint

    from . import make_sample_data, predict, test, train

    _say(f"1/5 drawing the sample data set in {data}")
    if code := make_sample_data.main([str(data)]):
        return code

    if args.fresh:
        shutil.rmtree(work_dir, ignore_errors=True)
    _say(f"2/5 training {_CONFIG}; loss, time left and memory follow")
    resume = ["--resume"] if last_checkpoint(work_dir) else []
    if code := train.main([*common, *resume]):
        return code

    _say("3/5 evaluating on images that it has not seen")
    checkpoint = str(last_checkpoint(work_dir))
    if code := test.main([*common, checkpoint, "--out", str(metrics)]):
        return code

    code, model = export_model(work_dir)
    if code:
        return code
    _say(f"5/5 predicting some of them with {model}")
    unseen = sorted((data / "coco" / "val2017").iterdir())[: _ROWS * _COLUMNS]
    images = work_dir / "unseen.txt"
    images.write_text("".join(f"{path.resolve()}\n" for path in unseen))
    shutil.rmtree(pictures, ignore_errors=True)
    if code := predict.main([str(model), str(images), "--pictures", str(pictures)]):
        return code
    _write_sheet(sorted(pictures.iterdir()), sheet)
    found = json.loads(metrics.read_text())["metrics"]
    print(f"\nbox AP50 {found['coco/bbox_mAP_50']:.3f}, mask AP50 {found['coco/segm_mAP_50']:.3f} on unseen images")
    print(f"picture of what it finds: {sheet}; in images of yours: maxvit-dense predict {model} IMAGES")
    print(f"{(time.monotonic() - begin) / 60:.1f} minutes after set-up")
    return 0


if __name__ == "__main__":
    sys.exit(main())
