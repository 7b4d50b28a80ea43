"""A UPerNet of seconds, as a config for the command lines."""

from pathlib import Path

from mmengine.config import Config

CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def write_config(folder: Path) -> Path:
    """The demo's UPerNet with thinner heads, for one step on 48-pixel crops, in one file."""
    cfg = Config.fromfile(CONFIGS / "demo" / "demo_upernet_maxvit_mini_sample.py")
    for head in (cfg.model.decode_head, cfg.model.auxiliary_head):
        head.channels = 8
    cfg.model.data_preprocessor.size = (48, 48)
    cfg.model.test_cfg.update(crop_size=(48, 48), stride=(32, 32))
    cfg.train_dataloader.dataset.pipeline[3].crop_size = (48, 48)
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
        loader.dataset.pipeline[2 if loader is cfg.train_dataloader else 1].scale = (96, 64)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.interval = 1
    path = folder / "tiny.py"
    cfg.dump(path)
    return path
