# UPerNet with Swin-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone through timm, see _base_/peers.py.
# Command:  python tools/train.py configs/upernet_swin_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. mmsegmentation's own, on this recipe: mIoU 44.41; published 44.51, multi-scale 45.81.
_base_ = ["./upernet_maxvit_t_ade20k.py", "./_base_/peers.py"]

model = dict(
    backbone={{_base_.swin_t_ade20k}},
    decode_head=dict(in_channels={{_base_.swin_t_channels}}),
    auxiliary_head=dict(in_channels=384),
)
