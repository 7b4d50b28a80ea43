# Mask R-CNN with Swin-T on COCO, 1x schedule: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; backbone through timm, see _base_/peers.py.
# Command:  python tools/train.py configs/maskrcnn_swin_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. mmdetection's own, on this recipe: box AP 42.7, mask AP 39.3; 3x, multi-scale: 46.0, 41.6.
_base_ = ["./maskrcnn_maxvit_t_coco.py", "./_base_/peers.py"]

model = dict(
    backbone={{_base_.swin_t}},
    neck=dict(in_channels={{_base_.swin_t_channels}}),
)
