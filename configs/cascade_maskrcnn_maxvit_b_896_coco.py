# Cascade Mask R-CNN with MaxViT-B on COCO at 896 x 896 pixels: the official recipe, 90,000 steps of 256 images.
#
# Recipe:   coco_maxvitb_i896_crcnn.yaml of tensorflow/models; the rest as cascade_maskrcnn_maxvit_t_896_coco.py.
# Differs:  as cascade_maskrcnn_maxvit_t_896_coco.py; the L2 penalty left out is 2e-7.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_b_896_coco.py --data-root data/coco --amp \
#               --cfg-options optim_wrapper.dtype=bfloat16
# GPUs:     32 x 8 images; elsewhere add --auto-scale-lr, or optim_wrapper.accumulative_counts to keep the batch.
# Result:   not yet run. Published: box AP 53.47, mask AP 45.96 (paper: 53.4, 45.7).
_base_ = "./cascade_maskrcnn_maxvit_t_896_coco.py"

model = dict(
    backbone=dict(arch="b", drop_path_rate=0.8, init_cfg=dict(checkpoint="maxvit_b.in1k")),
    neck=dict(in_channels=[192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
