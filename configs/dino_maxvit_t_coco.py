# DINO (detection transformer with denoising queries) with MaxViT-T on COCO, 12 epochs.
#
# Recipe:   mmdetection configs/dino/dino-4scale_r50_8xb2-12e_coco.py: AdamW lr 1e-4, a tenth of it for the backbone,
#           weight decay 1e-4, gradients clipped at .1; ours keeps norms, biases and bias tables without decay.
# Command:  python tools/train.py configs/dino_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, ResNet-50 on this recipe: box AP 49.0 (mmdetection configs/dino).
_base_ = ["mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py", "./_base_/maxvit.py"]

model = dict(
    backbone=dict(_base_.pop("backbone"), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512]),
)

optim_wrapper = dict(
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
        backbone_lr_mult=0.1,
        layer_decay_rate=1.0,  # below 1, earlier layers of the backbone learn more slowly
    ),
)
