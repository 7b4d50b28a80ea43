# Mask R-CNN with Swin-T on COCO, 1x schedule: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; backbone through timm, with the drop path rate of Swin-T's own detector and
#           its LayerNorm on each map, which is not in the weights of ImageNet (mmdetection configs/swin). Any size:
#           windows are padded and shifted at every stage, as there; timm does so only on request. On maps that 7 does
#           not divide timm pads behind the shift rather than before it, so windows at the lower and right edge see
#           other neighbours than in mmdetection's Swin.
# Command:  python tools/train.py configs/maskrcnn_swin_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. mmdetection's own, on this recipe: box AP 42.7, mask AP 39.3; 3x, multi-scale: 46.0, 41.6.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="swin_tiny_patch4_window7_224.ms_in1k",
        strict_img_size=False,
        always_partition=True,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="ms_in1k", missing_ok=True),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
