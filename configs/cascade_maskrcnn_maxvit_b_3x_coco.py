# Cascade Mask R-CNN with MaxViT-B on COCO, 3x schedule at many scales.
#
# Recipe:   as cascade_maskrcnn_maxvit_t_3x_coco.py; backbone of maskrcnn_maxvit_b_coco.py.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_b_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-B 51.9 / 45.0, ConvNeXt-B 52.7 / 45.6 box / mask AP on this recipe.
_base_ = "./cascade_maskrcnn_maxvit_t_3x_coco.py"

model = dict(
    backbone=dict(arch="b", drop_path_rate=0.4, init_cfg=dict(checkpoint="maxvit_b.in1k")),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
