"""A pretraining config of seconds."""

from pathlib import Path

from mmengine.config import Config

ROOT = Path(__file__).resolve().parent.parent

# Everything random of the recipes at once: RandAugment, erasing, mixing, stochastic depth; and EMA, accumulation.
CONFIG = f"""
_base_ = "{ROOT}/configs/pretrain_maxvit_t_imagenet.py"
model = dict(
    network=dict(model_name="maxvit_mini", drop_path_rate=0.5, num_classes=3),
    data_preprocessor=dict(mixup=dict(cutmix_alpha=1.0), random_erasing=dict(probability=0.5, mode="pixel")),
)
workers = dict(num_workers=0, persistent_workers=False, pin_memory=False)
train_dataloader = dict(batch_size=4, dataset=dict(transform=dict(input_size=32)), **workers)
val_dataloader = dict(batch_size=4, dataset=dict(transform=dict(input_size=32)), **workers)
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=2, val_interval=2)
param_scheduler = [dict(type="CosineAnnealingLR", end=2, by_epoch=True, convert_to_iter_based=True)]
default_hooks = dict(
    logger=dict(interval=1),
    checkpoint=dict(by_epoch=False, interval=2, max_keep_ckpts=2, save_best=None),
)
total_batch_size = 8
auto_scale_lr = dict(base_batch_size=8)
sync_bn = None
"""


def write_config(folder):
    """Writes the config, whole as a work dir holds it; its path."""
    (folder / "short.py").write_text(CONFIG)
    Config.fromfile(folder / "short.py").dump(folder / "tiny.py")
    return folder / "tiny.py"
