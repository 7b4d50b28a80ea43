# Mask2Former with MaxViT-T on COCO instance segmentation, 50 epochs of large-scale jitter.
#
# Recipe:   mmdetection configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py; AdamW lr 1e-4, a tenth of it for the
#           backbone, no decay on norms, biases, bias tables and embeddings, gradients clipped at .01.
# Command:  python tools/train.py configs/mask2former_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 47.7, mask AP 44.7 (mmdetection
#           configs/mask2former).
_base_ = ["mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py", "./_base_/maxvit.py"]

model = dict(
    backbone=_base_.pop("backbone"),
    panoptic_head=dict(in_channels=[64, 128, 256, 512]),
)

optim_wrapper = dict(
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        _delete_=True,
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(
            relative_position_bias_table=dict(decay_mult=0.0),
            query_embed=dict(decay_mult=0.0),
            query_feat=dict(decay_mult=0.0),
            level_embed=dict(decay_mult=0.0),
        ),
        backbone_lr_mult=0.1,
        layer_decay_rate=1.0,  # below 1, earlier layers of the backbone learn more slowly
    ),
)
