"""What an evaluation leaves behind: pictures, predictions, metrics."""

import json
import os
import time
from collections.abc import Mapping

from mmengine.config import Config, ConfigDict
from mmengine.dist import master_only

from ..errors import InputError
from ..provenance import versions


def draw_pictures(cfg: Config, show_dir: str) -> None:
    """Have the Runner write each tested image to ``show_dir``, annotated truth left and findings right.

    Raises:
        InputError: the config has no hook that can.
    """
    hook = (cfg.get("default_hooks") or {}).get("visualization") or {}
    if hook.get("type") != "DetVisualizationHook":
        raise InputError(
            "--show-dir needs default_hooks.visualization of type DetVisualizationHook in the config, and it "
            f"has {hook.get('type', 'none')}. Inherit from mmdet::_base_/default_runtime.py, or leave it out."
        )
    # An absolute path, or the hook would put it inside the work dir.
    hook.update(draw=True, test_out_dir=os.path.abspath(show_dir))


def save_predictions(cfg: Config, out: str) -> None:
    """Have the evaluator write predictions, by the suffix of ``out``.

    ``NAME.pkl`` gets every prediction as a pickle. With ``NAME.json``, each ``CocoMetric`` writes its results
    in COCO's format to ``NAME.bbox.json`` and, with masks, ``NAME.segm.json``.
    """
    evaluator = cfg.test_evaluator
    metrics = [evaluator] if isinstance(evaluator, dict) else list(evaluator)
    if out.endswith(".pkl"):
        kind = "DumpDetResults" if cfg.get("default_scope") == "mmdet" else "DumpResults"
        cfg.test_evaluator = [*metrics, ConfigDict(type=kind, out_file_path=out)]
        return
    for metric in metrics:
        if metric["type"] == "CocoMetric":
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
        date=time.strftime("%Y-%m-%d %H:%M:%S"),
        versions=versions(),
    )
    os.makedirs(os.path.dirname(os.path.abspath(out)), exist_ok=True)
    with open(out, "w", encoding="utf-8") as stream:
        json.dump(report, stream, indent=2, default=float)  # numpy's numbers
