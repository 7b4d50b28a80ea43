# Mask R-CNN with MaxViT-T on COCO, 3x schedule at many scales.
#
# Recipe:   mmdetection configs/swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py; backbone of the 1x config.
# Command:  python tools/train.py configs/maskrcnn_maxvit_t_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 46.0, mask AP 41.6.
_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/default_runtime.py",
    "./_base_/coco_multi_scale.py",
    "./_base_/maxvit.py",
    "./_base_/adamw.py",
    "./_base_/schedule_3x.py",
]

model = dict(backbone=_base_.pop("backbone"), neck=dict(in_channels=[64, 128, 256, 512]))
