# Mask R-CNN with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws: `make demo`.
#
# Recipe:   that of maskrcnn_maxvit_t_coco.py, from random weights, with small images, thin heads and a short schedule.
# Command:  python tools/train.py configs/demo/demo_maskrcnn_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores, batch 4: from random weights many small steps learn more than few large ones.
# Result:   box AP50 0.597, mask AP50 0.543 on unseen images in 13.9 minutes, 24 minutes of CPU time.
_base_ = ["../maskrcnn_maxvit_t_coco.py", "../_base_/sample_coco.py"]

model = dict(
    data_preprocessor=dict(pad_size_divisor=1),  # MaxViT needs no padding, which is a fifth of such small images
    backbone=dict(arch="mini", drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=[32, 64, 128, 256], out_channels=64),
    rpn_head=dict(
        in_channels=64,
        feat_channels=64,
        anchor_generator=dict(scales=[4]),  # objects are large in their images
    ),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=64),
        bbox_head=dict(in_channels=64, fc_out_channels=256, num_classes=6),
        mask_roi_extractor=dict(out_channels=64),
        mask_head=dict(in_channels=64, conv_out_channels=64, num_convs=2, num_classes=6),
    ),
    train_cfg=dict(
        rpn_proposal=dict(nms_pre=500, max_per_img=200),
        rcnn=dict(sampler=dict(num=64)),
    ),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=200)),
)

train_dataloader = _base_.pop("sample_train_dataloader")
train_pipeline = train_dataloader.dataset.pipeline
val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
test_pipeline = val_dataloader.dataset.pipeline
val_evaluator = test_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_epochs=16, val_interval=16)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=16, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
