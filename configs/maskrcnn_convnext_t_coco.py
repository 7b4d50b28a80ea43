# Mask R-CNN with ConvNeXt-T on COCO, 1x schedule: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; backbone through timm, with the drop path rate of ConvNeXt-T's own detector
#           and its LayerNorm on each map, which is not in the weights of ImageNet (facebookresearch/ConvNeXt); not its
#           layer-wise decay: only the backbone differs from MaxViT's recipe.
# Command:  python tools/train.py configs/maskrcnn_convnext_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, 3x at many scales with layer-wise decay 0.95: box AP 46.2, mask AP 41.7.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="convnext_tiny.fb_in1k",
        out_norm=True,
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="fb_in1k", missing_ok=True),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
# Its layer scale is one vector a block, which decays as little as other vectors.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(gamma=dict(decay_mult=0.0))))
