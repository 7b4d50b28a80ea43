# Mask R-CNN with ConvNeXt-T on COCO, 1x schedule: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; backbone through timm, see _base_/peers.py.
# Command:  python tools/train.py configs/maskrcnn_convnext_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, 3x at many scales with layer-wise decay 0.95: box AP 46.2, mask AP 41.7.
_base_ = ["./maskrcnn_maxvit_t_coco.py", "./_base_/peers.py"]

model = dict(
    backbone={{_base_.convnext_t}},
    neck=dict(in_channels={{_base_.convnext_t_channels}}),
)
optim_wrapper = {{_base_.convnext_t_optim_wrapper}}
