# 300 epochs, AdamW, 4096 images a step: paper, table 12. Bias tables, norms and biases are not decayed, as in the
# official code. Batches are accumulated to total_batch_size on any number of GPUs that divides it; another
# total_batch_size wants --auto-scale-lr.
max_epochs = 300
warmup_epochs = 32  # 10,000 steps of 4096 images
peak_lr, last_lr = 3e-3, 1e-5

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=max_epochs, val_interval=1)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=peak_lr, betas=(0.9, 0.999), weight_decay=0.05),
    clip_grad=dict(max_norm=1.0),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
        layer_decay_rate=1.0,  # below 1, earlier layers learn more slowly
    ),
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=warmup_epochs, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=last_lr / peak_lr,
        begin=warmup_epochs,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
total_batch_size = 4096
auto_scale_lr = dict(base_batch_size=4096)
