# 12 epochs, AdamW, batch 16 (8 GPUs x 2 images): mmdetection configs/swin, the recipe that transformer backbones are
# compared on.
_base_ = "mmdet::_base_/schedules/schedule_1x.py"

param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=12, by_epoch=True, milestones=[8, 11], gamma=0.1),
]
optim_wrapper = dict(
    _delete_=True,
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
        layer_decay_rate=1.0,  # below 1, earlier layers of the backbone learn more slowly
    ),
)
auto_scale_lr = dict(base_batch_size=16)
