# Cascade Mask R-CNN with MaxViT-S on COCO at 896 x 896 pixels: the official recipe, 115,750 steps of 256 images.
#
# Recipe:   coco_maxvits_i896_crcnn.yaml of tensorflow/models; the rest as cascade_maskrcnn_maxvit_t_896_coco.py. Its
#           cosine is 90,000 steps long, so the last 25,750 are at the floor of the learning rate; taken as written.
# Differs:  as cascade_maskrcnn_maxvit_t_896_coco.py.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_s_896_coco.py --data-root data/coco --amp \
#               --cfg-options optim_wrapper.dtype=bfloat16
# GPUs:     32 x 8 images; elsewhere add --auto-scale-lr, or optim_wrapper.accumulative_counts to keep the batch.
# Result:   not yet run. Published: box AP 53.54, mask AP 45.79 (paper: 53.1, 45.4).
_base_ = "./cascade_maskrcnn_maxvit_t_896_coco.py"

model = dict(
    backbone=dict(arch="s", drop_path_rate=0.5, init_cfg=dict(checkpoint="maxvit_s.in1k")),
    neck=dict(in_channels=[192, 384, 768]),
)
optim_wrapper = dict(optimizer=dict(lr=3e-3))
train_cfg = dict(max_iters=115750)
