"""Small random networks of each task as checkpoints on disk, and images for them."""

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from PIL import Image

from maxvit_dense.config_names import find_config

SHAPES = ("circle", "square", "triangle")
GROUND = ("sky", "sea", "sand")
_DEMOS = dict(
    detector="demo_maskrcnn_maxvit_mini_sample",
    segmentor="demo_upernet_maxvit_mini_sample",
    classifier="demo_pretrain_maxvit_mini_sample",
)


def write_run(folder, task, classes=SHAPES, facts=None):
    """A work dir as a training run leaves it: config, checkpoint of random weights, last_checkpoint."""
    cfg = Config.fromfile(find_config(_DEMOS[task]))
    parts = [cfg.model]
    while parts:  # heads for these classes
        part = parts.pop()
        values = list(part.values()) if isinstance(part, dict) else part if isinstance(part, list | tuple) else []
        parts += values
        if isinstance(part, dict) and part.get("num_classes") in (6, 10):
            part.num_classes = len(classes)
        if isinstance(part, dict) and "score_thr" in part:
            part.score_thr = 0.0  # random weights are sure of nothing
    if task == "classifier":
        cfg.model.network.num_classes = len(classes)
    else:
        cfg.test_dataloader.dataset.metainfo = dict(classes=classes)
    folder.mkdir(parents=True, exist_ok=True)
    cfg.dump(folder / "run.py")
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model)
    for name, value in model.named_parameters():
        if "fc_cls" in name or "conv_seg" in name or "head.fc" in name:
            torch.nn.init.normal_(value, std=0.5)  # or all classes would be as likely
    meta = dict(dataset_meta=dict(classes=classes), **({"maxvit_dense": facts} if facts else {}))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), folder / "weights.pth")
    (folder / "last_checkpoint").write_text(str(folder / "weights.pth"))
    return folder


def write_images(folder, sizes=((64, 48), (80, 100), (64, 48)), suffix=".jpg", seed=0):
    """Random images of (width, height) pixels, the last of them in a subfolder."""
    random = np.random.default_rng(seed)
    paths = [folder / f"{i}{suffix}" for i in range(len(sizes) - 1)] + [folder / "deep" / f"last{suffix}"]
    for path, (width, height) in zip(paths, sizes, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((width, height)).save(path)
    return paths
