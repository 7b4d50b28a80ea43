# DINO with MaxViT-B on COCO, 12 epochs.
#
# Recipe:   as dino_maxvit_t_coco.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/dino_maxvit_b_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./dino_maxvit_t_coco.py"

model = dict(
    backbone={{_base_.maxvit_b_from8}},
    neck=dict(in_channels={{_base_.maxvit_b_from8_channels}}),
)
