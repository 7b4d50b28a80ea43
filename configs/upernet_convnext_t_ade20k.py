# UPerNet with ConvNeXt-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone through timm, see _base_/peers.py.
# Command:  python tools/train.py configs/upernet_convnext_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, lr 1e-4 with stage-wise decay 0.9: mIoU 46.0, multi-scale 46.7.
_base_ = ["./upernet_maxvit_t_ade20k.py", "./_base_/peers.py"]

model = dict(
    backbone={{_base_.convnext_t}},
    decode_head=dict(in_channels={{_base_.convnext_t_channels}}),
    auxiliary_head=dict(in_channels=384),
)
optim_wrapper = {{_base_.convnext_t_optim_wrapper}}
