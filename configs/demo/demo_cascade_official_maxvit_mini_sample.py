# The official COCO recipe with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of cascade_maskrcnn_maxvit_t_896_coco.py from random weights, with small images and thin heads.
# Command:  python tools/train.py configs/demo/demo_cascade_official_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores, batch 4.
# Result:   box AP50 0.263, mask AP50 0.249 on unseen images, loss 2.97 to 1.26; about 6 minutes of CPU time.
_base_ = ["../cascade_maskrcnn_maxvit_t_896_coco.py", "../_base_/sample_coco.py"]

model = dict(
    data_preprocessor=dict(pad_size_divisor=192),
    backbone=dict(arch="mini", window_size=6, drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    rpn_head=dict(in_channels=64, feat_channels=64),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=[
            dict(head, in_channels=64, conv_out_channels=32, fc_out_channels=128, num_classes=6)
            for head in _base_.model.roi_head.bbox_head
        ],
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=32, num_convs=1, num_classes=6),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=48)),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=48)),
)

# Milder jitter than the recipe's .1 to 2.5: there are minutes to learn from random weights.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(192, 192), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(192, 192), allow_negative_crop=True),
    dict(type="LimitInstances", max_instances=100),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(192, 192), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = _base_.pop("sample_train_dataloader")
train_dataloader.dataset.pipeline = train_pipeline
val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
val_dataloader.dataset.pipeline = test_pipeline
val_evaluator = test_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_iters=400, val_interval=400)
param_scheduler = [dict(type="WarmupCosineLR", warmup_steps=50, decay_steps=400, floor=0.03, by_epoch=False)]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
