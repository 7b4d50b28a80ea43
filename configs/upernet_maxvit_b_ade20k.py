# UPerNet with MaxViT-B on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   as upernet_maxvit_t_ade20k.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/upernet_maxvit_b_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-B on this recipe: mIoU 47.99, multi-scale and flipped 49.57.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(arch="b", drop_path_rate=0.4, init_cfg=dict(checkpoint="maxvit_b.in1k")),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
