# Mask R-CNN with GC ViT-T on COCO, 1x schedule, images within 896x896: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py but for the size; backbone through timm, see _base_/peers.py. timm's GC ViT
#           takes one size only: images are resized to 896 on the longer side, not to 1333x800, and extended to the
#           square inside the backbone. A 4:3 photograph is seen at 896x672 in place of 1067x800, so small objects cost
#           AP, and a quarter of the backbone's work is on padding.
# Command:  python tools/train.py configs/maskrcnn_gcvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, 3x at many scales, free sizes, windows of 24: box AP 47.9, mask AP 43.2.
_base_ = ["./maskrcnn_maxvit_t_coco.py", "./_base_/peers.py", "./_base_/coco_896.py"]

model = dict(
    backbone={{_base_.gcvit_t}},
    neck=dict(in_channels={{_base_.gcvit_t_channels}}),
)
train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline_896}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.test_pipeline_896}}))
test_dataloader = val_dataloader
