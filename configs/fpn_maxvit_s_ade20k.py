# Semantic FPN with MaxViT-S on ADE20K, 80k iterations, 512x512 crops.
#
# Recipe:   as fpn_maxvit_t_ade20k.py, drop path rate of MaxViT-S's ImageNet training.
# Command:  python tools/train.py configs/fpn_maxvit_s_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 4 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Twins-PCPVT-B there: mIoU 45.66, multi-scale and flipped 46.48.
_base_ = "./fpn_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(arch="s", drop_path_rate=0.3, init_cfg=dict(checkpoint="maxvit_s.in1k")),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
