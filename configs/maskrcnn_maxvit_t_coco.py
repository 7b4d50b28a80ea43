# Mask R-CNN with MaxViT-T on COCO, 1x schedule.
#
# Recipe:   mmdetection configs/swin/mask-rcnn_swin-t-p4-w7_fpn_1x_coco.py, its drop path rate for MaxViT-T.
# Command:  python tools/train.py configs/maskrcnn_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 42.7, mask AP 39.3.
_base_ = [
    "mmdet::_base_/models/mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "mmdet::_base_/default_runtime.py",
    "./_base_/maxvit.py",
    "./_base_/adamw.py",
    "./_base_/schedule_1x.py",
]

model = dict(backbone=_base_.pop("backbone"), neck=dict(in_channels=[64, 128, 256, 512]))
