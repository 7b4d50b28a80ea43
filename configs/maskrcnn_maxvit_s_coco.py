# Mask R-CNN with MaxViT-S on COCO, 1x schedule.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py, drop path rate of MaxViT-S's ImageNet training.
# Command:  python tools/train.py configs/maskrcnn_maxvit_s_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(arch="s", drop_path_rate=0.3, init_cfg=dict(checkpoint="maxvit_s.in1k")),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
