# Cascade Mask R-CNN with MaxViT-T on COCO at 896 x 896 pixels: the official recipe, 90,000 steps of 256 images.
#
# Recipe:   tensorflow/models official/projects/maxvit (rcnn_maxvit_coco), item by item in docs/official_recipe.md.
#           Its file for T at 896 is not published: this has what those for B and L at 896 agree on, with the learning
#           rate and the stochastic depth of the paper's table for T (1e-3; .8 read as survival, so drop path .2).
# Differs:  from the official code: norm before, not behind, the convolution of the two coarsest levels; no cap of 128
#           masks an image, whose targets are cut at 28 pixels from the mask itself, not by way of 112; objects beyond
#           100 are unknown to the proposal head too; no L2 penalty of 1e-7 on head weights; tanh-GELU in the
#           backbone (the official code as published: ReLU, see the docs).
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_t_896_coco.py --data-root data/coco --amp \
#               --cfg-options optim_wrapper.dtype=bfloat16
# GPUs:     32 x 8 images; elsewhere add --auto-scale-lr, or optim_wrapper.accumulative_counts to keep the batch.
# Result:   not yet run. Published: box AP 52.35, mask AP 44.69 (paper: 52.1, 44.6).
_base_ = "./_base_/cascade_official.py"

model = dict(
    data_preprocessor=dict(pad_size_divisor=896),
    backbone=dict(window_size=28),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(896, 896), ratio_range=(0.1, 2.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(896, 896), allow_negative_crop=True),
    dict(type="LimitInstances", max_instances=100),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(896, 896), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=1e-3))
