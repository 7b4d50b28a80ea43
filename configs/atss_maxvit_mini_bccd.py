# ATSS with MaxViT-mini (ours, not the paper's) on BCCD: three kinds of blood cells in 205 photographs, random weights.
#
# Recipe:   ours. Anchors of 3 x stride fit the three classes (20, 50 and 100 pixels at 320x240), one a cell; whole
#           images at 0.8 to 1.2 of that, for grid attention learns the spacing of its windows, which an image's size
#           sets: crops of 224 pixels cost half and fit no worse, and fail on whole images (docs/results.md). Flips in
#           all directions, since cells have no up; AdamW, cosine. BatchNorm learns its statistics from batches of 4:
#           from random weights there are none to freeze.
# Command:  python tools/train.py configs/atss_maxvit_mini_bccd.py --data-root data/bccd
#           BCCD comes as Pascal VOC: maxvit-dense convert-dataset BCCD/ data/bccd
# Machine:  2 CPU cores, batch 4; 22 to 32 minutes of one core.
# Result:   box AP 0.580, 0.581, 0.575, AP50 0.892, 0.892, 0.891 on the validation photographs (ours, seeds 0 to 2), see
#           docs/results.md.
_base_ = ["mmdet::_base_/datasets/coco_detection.py", "mmdet::_base_/default_runtime.py", "./_base_/adamw.py"]
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

model = dict(
    type="ATSS",
    data_preprocessor=dict(
        type="DetDataPreprocessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=1,
    ),
    backbone=dict(type="MaxViT", arch="mini", out_indices=(1, 2, 3), window_size=7),
    neck=dict(type="FPN", in_channels=[64, 128, 256], out_channels=96, num_outs=3),
    bbox_head=dict(
        type="ATSSHead",
        num_classes=3,
        in_channels=96,
        stacked_convs=2,
        feat_channels=96,
        anchor_generator=dict(
            type="AnchorGenerator", ratios=[1.0], octave_base_scale=3, scales_per_octave=1, strides=[8, 16, 32]
        ),
        bbox_coder=dict(
            type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=[0.1, 0.1, 0.2, 0.2]
        ),
        loss_cls=dict(type="FocalLoss", use_sigmoid=True, gamma=2.0, alpha=0.25, loss_weight=1.0),
        loss_bbox=dict(type="GIoULoss", loss_weight=2.0),
        loss_centerness=dict(type="CrossEntropyLoss", use_sigmoid=True, loss_weight=1.0),
    ),
    train_cfg=dict(assigner=dict(type="ATSSAssigner", topk=9), allowed_border=-1, pos_weight=-1, debug=False),
    test_cfg=dict(
        nms_pre=1000, min_bbox_size=0, score_thr=0.05, nms=dict(type="nms", iou_threshold=0.6), max_per_img=100
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="RandomResize", scale=(320, 240), ratio_range=(0.8, 1.2), keep_ratio=True),
    dict(type="FilterAnnotations", min_gt_bbox_wh=(8, 8)),
    dict(type="RandomFlip", prob=[0.25, 0.25, 0.25], direction=["horizontal", "vertical", "diagonal"]),
    dict(
        type="PhotoMetricDistortion",
        brightness_delta=16,
        contrast_range=(0.8, 1.2),
        saturation_range=(0.8, 1.2),
        hue_delta=8,
    ),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(352, 264), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    batch_sampler=None,
    sampler=dict(_delete_=True, type="InfiniteSampler", shuffle=True),
    dataset=dict(
        data_root="data/bccd/", metainfo=dict(classes=("Platelets", "RBC", "WBC")), pipeline=train_pipeline
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(
        data_root="data/bccd/", metainfo=dict(classes=("Platelets", "RBC", "WBC")), pipeline=test_pipeline
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file="data/bccd/annotations/instances_val2017.json", classwise=True)
test_evaluator = val_evaluator

optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=1200, val_interval=300)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=100),
    dict(type="CosineAnnealingLR", begin=100, end=1200, eta_min=1e-5, by_epoch=False),
]
log_processor = dict(by_epoch=False)
default_hooks = dict(
    logger=dict(interval=20),
    checkpoint=dict(by_epoch=False, interval=300, max_keep_ckpts=1, save_best="coco/bbox_mAP_50"),
)
randomness = dict(seed=0)
