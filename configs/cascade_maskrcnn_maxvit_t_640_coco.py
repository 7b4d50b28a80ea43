# Cascade Mask R-CNN with MaxViT-T on COCO at 640 x 640 pixels: the official recipe, 90,000 steps of 256 images.
#
# Recipe:   coco_maxvitt_i640_crcnn.yaml of tensorflow/models; the rest as cascade_maskrcnn_maxvit_t_896_coco.py. Its
#           cosine is 115,750 steps long but its steps are the default 90,000, so that the learning rate ends at 14 % of
#           its peak; taken as written, the survival probability of .3 for the smallest network too.
# Differs:  as cascade_maskrcnn_maxvit_t_896_coco.py.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_t_640_coco.py --data-root data/coco --amp \
#               --cfg-options optim_wrapper.dtype=bfloat16
# GPUs:     32 x 8 images; elsewhere add --auto-scale-lr, or optim_wrapper.accumulative_counts to keep the batch.
# Result:   not yet run. Published: box AP 49.97, mask AP 42.69.
_base_ = "./_base_/cascade_official.py"

model = dict(
    data_preprocessor=dict(pad_size_divisor=640),
    backbone=dict(window_size=20, drop_path_rate=0.7),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomResize", scale=(640, 640), ratio_range=(0.1, 2.5), keep_ratio=True),
    dict(type="RandomCrop", crop_size=(640, 640), allow_negative_crop=True),
    dict(type="LimitInstances", max_instances=100),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(640, 640), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
optim_wrapper = dict(optimizer=dict(lr=2e-3, weight_decay=1e-4))
param_scheduler = [dict(type="WarmupCosineLR", warmup_steps=6000, decay_steps=115750, floor=0.03, by_epoch=False)]
