# AdamW at batch 16 (8 GPUs x 2 images), as mmdetection and mmsegmentation configs/swin have it: norms, biases and
# biases by position (tables, and the MLPs that stand in their place in some) do not decay.
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05, fused=True),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0), rel_pos=dict(decay_mult=0.0)),
        layer_decay_rate=1.0,  # below 1, earlier layers of the backbone learn more slowly
    ),
)
auto_scale_lr = dict(enable=False, base_batch_size=16)
