# Mask R-CNN with MaxViT-B on COCO, 3x schedule at many scales.
#
# Recipe:   as maskrcnn_maxvit_t_3x_coco.py; backbone of maskrcnn_maxvit_b_coco.py.
# Command:  python tools/train.py configs/maskrcnn_maxvit_b_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_3x_coco.py"

model = dict(
    backbone={{_base_.maxvit_b}},
    neck=dict(in_channels={{_base_.maxvit_b_channels}}),
)
