"""Detectors of seconds, as configs for the command lines."""

from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config

from maxvit_dense.sample_data import CLASSES

_CONFIG = """
_base_ = [
    "mmdet::_base_/models/{model}.py",
    "mmdet::_base_/datasets/coco_{task}.py",
    "mmdet::_base_/default_runtime.py",
]
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)
meta = {meta}
roi = dict(out_channels=16)
model = dict(
    data_preprocessor=dict(pad_size_divisor=1),
    backbone=dict(_delete_=True, type="MaxViT", arch="mini", out_indices=(0, 1, 2, 3)),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=16),
    {heads}
)
load = [dict(type="LoadImageFromFile"), dict(type="Resize", scale=(64, 64), keep_ratio=True)]
pack = [dict(type="LoadAnnotations", with_bbox=True, with_mask={masks}), dict(type="PackDetInputs")]
train_pipeline = [load[0], pack[0], load[1], dict(type="RandomFlip", prob=0.5), pack[1]]
keys = ("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")
test_pipeline = [*load, pack[0], dict(type="PackDetInputs", meta_keys=keys)]
workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(batch_size=2, dataset=dict(**meta, pipeline=train_pipeline), **workers)
val_dataloader = dict(dataset=dict(**meta, pipeline=test_pipeline), **workers)
test_dataloader = val_dataloader
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=1, val_interval=1)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="AdamW", lr=1e-3))
default_hooks = dict(logger=dict(interval=1))
auto_scale_lr = dict(base_batch_size=4)
"""
_MASK_HEADS = """rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=roi,
        mask_roi_extractor=roi,
        bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes={classes}),
        mask_head=dict(in_channels=16, conv_out_channels=16, num_convs=1, num_classes={classes}),
    ),
    train_cfg=dict(rpn_proposal=dict(max_per_img=50), rcnn=dict(sampler=dict(num=32))),
    test_cfg=dict(rpn=dict(max_per_img=20), rcnn=dict(max_per_img=5, score_thr=0.0)),"""
_BOX_HEADS = """bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1, num_classes={classes}),
    test_cfg=dict(score_thr=0.0, max_per_img=5),"""


def write_config(folder: Path, name: str = "tiny", classes: Sequence[str] | None = CLASSES, masks: bool = True) -> Path:
    """A Mask R-CNN, or a RetinaNet, of these classes or COCO's 80, in one file.

    Its bases are written out: mmengine takes over a second to resolve them at each load.
    """
    model, task = ("mask-rcnn_r50_fpn", "instance") if masks else ("retinanet_r50_fpn", "detection")
    heads = (_MASK_HEADS if masks else _BOX_HEADS).format(classes=len(classes) if classes else 80)
    meta = dict(metainfo=dict(classes=classes)) if classes else {}
    (folder / "short.py").write_text(_CONFIG.format(model=model, task=task, meta=meta, heads=heads, masks=masks))
    Config.fromfile(folder / "short.py").dump(folder / f"{name}.py")
    return folder / f"{name}.py"
