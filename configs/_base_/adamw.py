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

# Detection transformers: the backbone at a tenth of the rate, gradients clipped hard. DINO decays less
# (mmdetection configs/dino), Mask2Former not its embeddings (mmdetection and mmsegmentation configs/mask2former).
no_decay = dict(decay_mult=0.0)
dino_optim_wrapper = dict(
    maxvit_optim_wrapper,
    optimizer=dict(maxvit_optim_wrapper["optimizer"], weight_decay=1e-4),
    clip_grad=dict(max_norm=0.1, norm_type=2),
    paramwise_cfg=dict(maxvit_optim_wrapper["paramwise_cfg"], backbone_lr_mult=0.1),
)
mask2former_optim_wrapper = dict(
    maxvit_optim_wrapper,
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        maxvit_optim_wrapper["paramwise_cfg"],
        custom_keys=dict(
            relative_position_bias_table=no_decay, query_embed=no_decay, query_feat=no_decay, level_embed=no_decay
        ),
        backbone_lr_mult=0.1,
    ),
)

# The official recipe decays every parameter, norms and bias tables among them: docs/official_recipe.md. Its base config
# inherits no optimizer that it would have to delete.
official_optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=3e-3, betas=(0.9, 0.999), eps=1e-7, weight_decay=0.05),
    clip_grad=dict(max_norm=1.0, norm_type=2),
)
