# Mask R-CNN with MaxViT-S on COCO, 3x schedule at many scales.
#
# Recipe:   as maskrcnn_maxvit_t_3x_coco.py; backbone of maskrcnn_maxvit_s_coco.py.
# Command:  python tools/train.py configs/maskrcnn_maxvit_s_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_3x_coco.py"

model = dict(
    backbone=dict(arch="s", drop_path_rate=0.3, init_cfg=dict(checkpoint="maxvit_s.in1k")),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
