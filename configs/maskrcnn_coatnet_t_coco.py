# Mask R-CNN with CoAtNet-0 on COCO, 1x schedule, images within 896x896: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_gcvit_t_coco.py, whose size it shares: CoAtNet attends globally and its tables of biases fix the
#           size. 1344x1344, where the recipe's 1333x800 would fit, needs 2.4 GB of biases for each of seven layers.
#           Global attention at stride 16 grows with the fourth power of the side. Normalised as its weights were.
# Command:  python tools/train.py configs/maskrcnn_coatnet_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in detection is known.
_base_ = "./maskrcnn_gcvit_t_coco.py"

model = dict(
    data_preprocessor={{_base_.coatnet_t_normalization}},
    backbone={{_base_.coatnet_t}},
    neck=dict(in_channels={{_base_.coatnet_t_channels}}),
)
