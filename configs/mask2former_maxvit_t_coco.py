# Mask2Former with MaxViT-T on COCO instance segmentation, 50 epochs of large-scale jitter.
#
# Recipe:   mmdetection configs/mask2former/mask2former_r50_8xb2-lsj-50e_coco.py; AdamW lr 1e-4, a tenth of it for the
#           backbone, no decay on norms, biases, bias tables and embeddings, gradients clipped at .01.
# Command:  python tools/train.py configs/mask2former_maxvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 47.7, mask AP 44.7 (mmdetection
#           configs/mask2former).
_base_ = [
    "mmdet::mask2former/mask2former_r50_8xb2-lsj-50e_coco.py",
    "./_base_/adamw.py",
    "./_base_/maxvit.py",
]

custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

model = dict(
    backbone={{_base_.maxvit_t}},
    panoptic_head=dict(in_channels={{_base_.maxvit_t_channels}}),
)

optim_wrapper = {{_base_.mask2former_optim_wrapper}}
