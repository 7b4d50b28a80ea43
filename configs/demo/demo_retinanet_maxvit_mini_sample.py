# RetinaNet with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of retinanet_maxvit_t_coco.py from random weights, with small images and thin heads.
# Command:  python tools/train.py configs/demo/demo_retinanet_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores, batch 4.
# Result:   box AP50 0.393 on unseen images, loss 1.85 to 0.48, in 8.5 minutes on one busy core.
_base_ = ["../retinanet_maxvit_t_coco.py", "../_base_/sample_coco.py"]

model = dict(
    backbone=dict(arch="mini", drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    bbox_head=dict(in_channels=64, feat_channels=64, stacked_convs=2, num_classes=6),
)

train_dataloader = _base_.pop("sample_train_dataloader")
train_pipeline = train_dataloader.dataset.pipeline
val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
test_pipeline = val_dataloader.dataset.pipeline
val_evaluator = test_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_epochs=8, val_interval=8)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=800, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
