"""What an evaluation leaves behind: pictures, predictions, metrics."""

import json
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

import mmcv
from mmengine.config import Config, ConfigDict
from mmengine.dist import master_only
from mmengine.evaluator import DumpResults
from mmengine.hooks import Hook
from mmengine.registry import HOOKS, METRICS

from ...errors import InputError
from ...export.provenance import versions
from ..config.parts import type_name
from ..data.checking.checks import files_read
from ..data.layouts.coco_file import UNANNOTATED, read_annotations


@HOOKS.register_module()
class PicturesHook(Hook):
    """Write each tested image with truth left and findings right, below the folder that it lies in among the images.

    In the place of mmdet's and mmseg's hooks: those put all pictures into one folder, where equal names of several
    overwrite each other, or three folders deep and into TensorBoard's files.

    Args:
        out_dir: where the pictures go.
        root: folder that all images lie in or below; the rest of an image's path is kept.
        options: of the visualizer's ``add_datasample``, such as ``pred_score_thr``.
    """

    def __init__(self, out_dir: str, root: str, options: Mapping[str, Any] | None = None):
        self.out_dir, self.root, self.options = out_dir, root, dict(options or {})

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            image = mmcv.imread(sample.img_path, channel_order="rgb")
            out_file = _picture_path(sample.img_path, self.root, self.out_dir)
            os.makedirs(os.path.dirname(out_file), exist_ok=True)
            name = os.path.basename(sample.img_path)
            runner.visualizer.add_datasample(name, image, data_sample=sample, out_file=out_file, **self.options)


def _picture_path(image: str, root: str, out_dir: str) -> str:
    return os.path.join(out_dir, os.path.relpath(os.path.abspath(image), root))


@METRICS.register_module()
class DumpSegResults(DumpResults):
    """Keep label maps, and not the logits they come from: at 150 classes these take 75 times the memory."""

    def process(self, data_batch: Any, predictions: Sequence[dict]) -> None:
        left_out = ("seg_logits", "gt_sem_seg")
        super().process(data_batch, [{k: v for k, v in item.items() if k not in left_out} for item in predictions])


_SCORE = 0.3  # of mmdet's own hook: what is found with less is not drawn
_DUMPS = {"mmdet": "DumpDetResults", "mmseg": "DumpSegResults"}


def draw_pictures(cfg: Config, show_dir: str) -> None:
    """Have the Runner write each tested image to ``show_dir``, annotated truth left and findings right.

    Raises:
        InputError: the config has no hook that can.
    """
    hook = (cfg.get("default_hooks") or {}).get("visualization") or {}
    kind = type_name(hook) if hook else "none"
    folder = os.path.abspath(show_dir)
    if kind not in ("DetVisualizationHook", "SegVisualizationHook", "PicturesHook"):
        raise InputError(
            "--show-dir needs default_hooks.visualization of type DetVisualizationHook or SegVisualizationHook in the "
            f"config, and it has {kind}. Inherit from mmdet::_base_/default_runtime.py or "
            "configs/_base_/mmseg_runtime.py, or leave it out."
        )
    images, masks = files_read(cfg, "test")
    root = os.path.commonpath([os.path.dirname(os.path.abspath(path)) for path in images] or [os.getcwd()])
    _check_pictures(images, masks, root, folder)
    options = dict(pred_score_thr=hook.get("score_thr", _SCORE)) if kind == "DetVisualizationHook" else {}
    cfg.default_hooks.visualization = ConfigDict(type="PicturesHook", out_dir=folder, root=root, options=options)


def _check_pictures(images: Sequence[str], masks: Sequence[str], root: str, folder: str) -> None:
    """Refuse a folder of pictures where one would be written over a file that is read, by its path or by a link."""
    written = [path for path in (_picture_path(image, root, folder) for image in images) if os.path.exists(path)]
    if not written:
        return
    read = {(state.st_dev, state.st_ino) for state in map(os.stat, filter(os.path.exists, [*images, *masks]))}
    for path in written:
        state = os.stat(path)
        if (state.st_dev, state.st_ino) in read:
            raise InputError(
                f"--show-dir {folder} would write pictures over the data: {path} is an image or a mask that is "
                "read, or a link to one. Give another folder."
            )


def save_predictions(cfg: Config, out: str) -> None:
    """Have the evaluator write predictions, by the suffix of ``out``; that of a file without annotations nothing else.

    ``NAME.pkl`` gets every prediction as a pickle. With ``NAME.json``, each ``CocoMetric`` writes its results
    in COCO's format to ``NAME.bbox.json`` and, with masks, ``NAME.segm.json``.
    """
    evaluator = cfg.test_evaluator
    metrics = [evaluator] if isinstance(evaluator, dict) else list(evaluator)
    for metric in metrics:
        path = metric.get("ann_file") or ""
        if metric["type"] == "CocoFileMetric" and read_annotations(path).get(UNANNOTATED):
            metric.update(format_only=True, outfile_prefix=os.path.splitext(out)[0])
    if out.endswith(".pkl"):
        kind = _DUMPS.get(cfg.get("default_scope"), "DumpResults")
        cfg.test_evaluator = [*metrics, ConfigDict(type=kind, out_file_path=out)]
        return
    for metric in metrics:
        if metric["type"] in ("CocoMetric", "CocoFileMetric"):
            metric["outfile_prefix"] = os.path.splitext(out)[0]


@master_only
def report_metrics(metrics: Mapping[str, float], cfg: Config, out: str | None = None) -> None:
    """Print metrics on stdout; write them to ``out``, if that ends in ``.json``, with what they belong to."""
    width = max(map(len, metrics), default=0)
    for name, value in metrics.items():
        print(f"{name:<{width}}  {value:.4g}" if isinstance(value, float) else f"{name:<{width}}  {value}")
    if not (out and out.endswith(".json")):
        return
    report = dict(
        metrics=dict(metrics),
        config=cfg.filename,
        checkpoint=cfg.load_from,
        test_time_augmentation="module" in cfg.get("model", {}),
        date=time.strftime("%Y-%m-%d %H:%M:%S"),
        versions=versions(),
    )
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=2, default=float)  # numpy's numbers
