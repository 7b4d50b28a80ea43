# Cascade Mask R-CNN with MaxViT-B on COCO at 640 x 640 pixels: the official recipe, 90,000 steps of 256 images.
#
# Recipe:   coco_maxvitb_i640_crcnn.yaml of tensorflow/models; the rest as cascade_maskrcnn_maxvit_t_640_coco.py.
# Differs:  as cascade_maskrcnn_maxvit_t_896_coco.py.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_b_640_coco.py --data-root data/coco --amp \
#               --cfg-options optim_wrapper.dtype=bfloat16
# GPUs:     32 x 8 images; elsewhere add --auto-scale-lr, or optim_wrapper.accumulative_counts to keep the batch.
# Result:   not yet run. Published: box AP 51.59, mask AP 44.07.
_base_ = "./cascade_maskrcnn_maxvit_t_640_coco.py"

model = dict(
    backbone=dict(arch="b", drop_path_rate=0.3, init_cfg=dict(checkpoint="maxvit_b.in1k")),
    neck=dict(in_channels=[192, 384, 768]),
)
