# 12 epochs, AdamW, batch 16 (8 GPUs x 2 images): mmdetection configs/swin, the recipe that transformer backbones are
# compared on.
_base_ = ["mmdet::_base_/schedules/schedule_1x.py", "./adamw.py"]

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = {{_base_.maxvit_optim_wrapper}}
auto_scale_lr = dict(base_batch_size=16)
