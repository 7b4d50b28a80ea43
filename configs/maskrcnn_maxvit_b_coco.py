# Mask R-CNN with MaxViT-B on COCO, 1x schedule.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/maskrcnn_maxvit_b_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone={{_base_.maxvit_b}},
    neck=dict(in_channels={{_base_.maxvit_b_channels}}),
)
