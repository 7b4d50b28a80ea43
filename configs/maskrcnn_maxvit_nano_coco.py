# Mask R-CNN with MaxViT-nano on COCO, 1x schedule: timm's network of 15.5M parameters, ImageNet top-1 82.98.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py; images normalised and windows of 8 tokens as in the ImageNet training, whose
#           drop path rate is not published: half of MaxViT-T's, ours.
# Command:  python tools/train.py configs/maskrcnn_maxvit_nano_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        arch="nano",
        window_size=8,
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="maxvit_nano.rmlp_rw_256"),
    ),
)
