# RetinaNet with MaxViT-B on COCO, 1x schedule.
#
# Recipe:   as retinanet_maxvit_t_coco.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/retinanet_maxvit_b_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Official recipe (another, see retinanet_maxvit_t_coco.py): box AP 46.63 at 640, 50.38 at 1280.
_base_ = "./retinanet_maxvit_t_coco.py"

model = dict(
    backbone={{_base_.maxvit_b_from8}},
    neck=dict(in_channels={{_base_.maxvit_b_from8_channels}}),
)
