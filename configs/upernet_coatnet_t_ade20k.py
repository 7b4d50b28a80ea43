# UPerNet with CoAtNet-0 on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_gcvit_t_ade20k.py, sliding windows of the one size that its tables of biases allow. Normalised as
#           its weights were.
# Command:  python tools/train.py configs/upernet_coatnet_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in segmentation is known.
_base_ = "./upernet_gcvit_t_ade20k.py"

model = dict(
    data_preprocessor={{_base_.coatnet_t_normalization}},
    backbone={{_base_.coatnet_t_ade20k}},
    decode_head=dict(in_channels={{_base_.coatnet_t_channels}}),
    auxiliary_head=dict(in_channels=384),
)
