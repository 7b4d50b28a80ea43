"""A Mask R-CNN of seconds, as a config for the command lines."""

from pathlib import Path

from mmengine.config import Config

from maxvit_dense.sample_data import CLASSES

CONFIG = f"""
_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)
meta = dict(classes={CLASSES!r})
roi = dict(out_channels=16)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1),
    backbone=dict(_delete_=True, type="MaxViT", arch="mini", out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=roi,
        mask_roi_extractor=roi,
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes={len(CLASSES)}),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1, num_classes={len(CLASSES)}),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(max_per_img=5, score_thr=0.0)),
)
load = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 64), keep_ratio=True)]
pack = [dict(type="LoadAnnotations", with_bbox=True, with_mask=True), dict(type="PackDetInputs")]
train_pipeline = [load[0], pack[0], load[1], dict(type="RandomFlip", prob=0.5), pack[1]]
keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
test_pipeline = [*load, pack[0], dict(type="PackDetInputs", meta_keys=keys)]
workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(metainfo=meta, pipeline=train_pipeline), **workers)
val_dataloader = dict(dataset=dict(metainfo=meta, pipeline=test_pipeline), **workers)
test_dataloader = val_dataloader
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
default_hooks = dict(logger=dict(interval=1))
auto_scale_lr = dict(base_batch_size=4)
"""


def write_config(folder: Path) -> Path:
    """One file with its bases written out: mmengine takes over a second to resolve them at each load."""
    (folder / "short.py").write_text(CONFIG)
    Config.fromfile(folder / "short.py").dump(folder / "tiny.py")
    return folder / "tiny.py"
