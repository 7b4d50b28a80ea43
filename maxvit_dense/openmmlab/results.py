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

from ..errors import InputError
from ..export.provenance import versions


@HOOKS.register_module()
class SegPicturesHook(Hook):
    """Write each tested image with its label maps drawn over it, truth left and findings right.

    In the place of mmseg's SegVisualizationHook, which hands pictures to the visualizer's backends: these put them
    three folders deep, and into TensorBoard's files.

    Args:
        out_dir: where each picture goes, under its image's name.
    """

    def __init__(self, out_dir: str):
        self.out_dir = out_dir

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        for sample in outputs:
            image = mmcv.imread(sample.img_path, channel_order="rgb")
            name = os.path.basename(sample.img_path)
            out_file = os.path.join(self.out_dir, name)
            runner.visualizer.add_datasample(name, image, data_sample=sample, out_file=out_file)


@METRICS.register_module()
class DumpSegResults(DumpResults):
    """Keep label maps, and not the logits they come from: at 150 classes these take 75 times the memory."""

    def process(self, data_batch: Any, predictions: Sequence[dict]) -> None:
        left_out = ("seg_logits", "gt_sem_seg")
        super().process(data_batch, [{k: v for k, v in item.items() if k not in left_out} for item in predictions])


_DUMPS = {"mmdet": "DumpDetResults", "mmseg": "DumpSegResults"}


def draw_pictures(cfg: Config, show_dir: str) -> None:
    """Have the Runner write each tested image to ``show_dir``, annotated truth left and findings right.

    Raises:
        InputError: the config has no hook that can.
    """
    hook = (cfg.get("default_hooks") or {}).get("visualization") or {}
    kind = str(hook.get("type", "none")).rpartition(".")[2]
    folder = os.path.abspath(show_dir)  # or mmdet's hook would put it inside the work dir
    if kind == "DetVisualizationHook":
        hook.update(draw=True, test_out_dir=folder)
    elif kind == "SegVisualizationHook":
        cfg.default_hooks.visualization = ConfigDict(type="SegPicturesHook", out_dir=folder)
    else:
        raise InputError(
            "--show-dir needs default_hooks.visualization of type DetVisualizationHook or SegVisualizationHook in the "
            f"config, and it has {kind}. Inherit from mmdet::_base_/default_runtime.py or "
            "configs/_base_/mmseg_runtime.py, or leave it out."
        )


def save_predictions(cfg: Config, out: str) -> None:
    """Have the evaluator write predictions, by the suffix of ``out``.

    ``NAME.pkl`` gets every prediction as a pickle. With ``NAME.json``, each ``CocoMetric`` writes its results
    in COCO's format to ``NAME.bbox.json`` and, with masks, ``NAME.segm.json``.
    """
    evaluator = cfg.test_evaluator
    metrics = [evaluator] if isinstance(evaluator, dict) else list(evaluator)
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
