# DINO (detection transformer with denoising queries) with MaxViT-T on COCO, 12 epochs.
#
# Recipe:   mmdetection configs/dino/dino-4scale_r50_8xb2-12e_coco.py: AdamW lr 1e-4, a tenth of it for the backbone,
#           weight decay 1e-4, gradients clipped at .1; ours keeps norms, biases and bias tables without decay.
# Command:  python tools/train.py configs/dino_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, ResNet-50 on this recipe: box AP 49.0 (mmdetection configs/dino).
_base_ = [
    "mmdet::dino/dino-4scale_r50_8xb2-12e_coco.py",
    "./_base_/adamw.py",
    "./_base_/maxvit.py",
]

custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

model = dict(
    backbone={{_base_.maxvit_t_from8}},
    neck=dict(in_channels={{_base_.maxvit_t_from8_channels}}),
)

optim_wrapper = {{_base_.dino_optim_wrapper}}
