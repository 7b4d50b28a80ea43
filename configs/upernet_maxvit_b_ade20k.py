# UPerNet with MaxViT-B on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   as upernet_maxvit_t_ade20k.py, drop path rate of MaxViT-B's ImageNet training.
# Command:  python tools/train.py configs/upernet_maxvit_b_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-B on this recipe: mIoU 47.99, multi-scale and flipped 49.57.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    backbone={{_base_.maxvit_b}},
    decode_head=dict(in_channels={{_base_.maxvit_b_channels}}),
    auxiliary_head=dict(in_channels=384),
)
