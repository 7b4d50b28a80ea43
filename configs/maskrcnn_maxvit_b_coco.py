# Mask R-CNN with MaxViT-B on COCO, 1x schedule.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/maskrcnn_maxvit_b_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(arch="b", drop_path_rate=0.4, init_cfg=dict(checkpoint="maxvit_b.in1k")),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
