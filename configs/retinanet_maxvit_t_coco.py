# RetinaNet with MaxViT-T on COCO, 1x schedule.
#
# Recipe:   mmdetection configs/retinanet/retinanet_r50_fpn_1x_coco.py with the AdamW schedule of our other 1x
#           configs. The official RetinaNet is another: MaxViT-B at fixed squares, SGD at .32 for 72 epochs of batch
#           256, scale jitter .8-1.2, anchors of 4 x stride at 640 and 3 x stride at 1280, focal gamma 1.5, Huber .1.
# Command:  python tools/train.py configs/retinanet_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Official, MaxViT-B only (tensorflow/models official/projects/maxvit): box AP 46.63 at 640,
#           50.38 at 1280.
_base_ = [
    "mmdet::_base_/models/retinanet_r50_fpn.py",
    "mmdet::_base_/datasets/coco_detection.py",
    "mmdet::_base_/default_runtime.py",
    "./_base_/maxvit.py",
    "./_base_/adamw.py",
    "./_base_/schedule_1x.py",
]

# The pyramid begins at stride 8.
model = dict(
    backbone=dict(_base_.pop("backbone"), out_indices=(1, 2, 3)),
    neck=dict(in_channels=[128, 256, 512], start_level=0),
)
