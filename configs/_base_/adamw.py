# AdamW and its rules, which every schedule of this folder takes from here, in one place.
#
#   optim_wrapper={{_base_.maxvit_optim_wrapper}}, then only what differs: another learning rate, a layer_decay_rate
#
# Norms, biases and bias tables do not decay: mmdetection and mmsegmentation configs/swin.
maxvit_optim_wrapper = dict(
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
