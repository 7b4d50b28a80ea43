# Mask2Former (semantic) with MaxViT-S on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   as mask2former_maxvit_t_ade20k.py, drop path rate of MaxViT-S's ImageNet training.
# Command:  python tools/train.py configs/mask2former_maxvit_s_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-S on this recipe: mIoU 51.24.
_base_ = "./mask2former_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(arch="s", drop_path_rate=0.3, init_cfg=dict(checkpoint="maxvit_s.in1k")),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
)
