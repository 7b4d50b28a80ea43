# RetinaNet with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of retinanet_maxvit_t_coco.py from random weights, with small images and
#           thin heads.
# Command:  python tools/make_sample_data.py data/sample && \
#               python tools/train.py configs/demo_retinanet_maxvit_mini_sample.py --data-root data/sample/coco
# GPUs:     none: 2 CPU cores, batch 4.
# Result:   box AP50 0.393 on unseen images, loss 1.85 to 0.48, in 8.5 minutes on one busy core.
_base_ = ["./retinanet_maxvit_t_coco.py", "./_base_/sample_coco.py"]

width = {{_base_.sample_width}}
num_classes = {{_base_.sample_num_classes}}

model = dict(
    backbone={{_base_.maxvit_mini_from8}},
    neck=dict(in_channels={{_base_.maxvit_mini_from8_channels}}, out_channels=width),
    bbox_head=dict(in_channels=width, feat_channels=width, stacked_convs=2, num_classes=num_classes),
)

train_dataloader = {{_base_.sample_train_dataloader}}
val_dataloader = {{_base_.sample_val_dataloader}}
test_dataloader = {{_base_.sample_val_dataloader}}
val_evaluator = {{_base_.sample_evaluator}}
test_evaluator = {{_base_.sample_evaluator}}

train_cfg = {{_base_.sample_800.by_epoch}}
param_scheduler = {{_base_.sample_800.param_scheduler}}
optim_wrapper = dict(optimizer=dict(lr=5e-4), clip_grad=dict(max_norm=5.0))
auto_scale_lr = {{_base_.sample_auto_scale_lr}}
default_hooks = {{_base_.sample_hooks}}
randomness = dict(seed=0)
