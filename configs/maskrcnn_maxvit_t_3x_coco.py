# Mask R-CNN with MaxViT-T on COCO, 3x schedule at many scales.
#
# Recipe:   mmdetection configs/swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py; backbone of the 1x config.
# Command:  python tools/train.py configs/maskrcnn_maxvit_t_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 46.0, mask AP 41.6.
_base_ = "./maskrcnn_maxvit_t_coco.py"

# Half of the images are resized as they are, half are cropped in between (the augmentation of DETR and Sparse R-CNN).
resize = dict(type="RandomChoiceResize", scales=[(side, 1333) for side in range(480, 801, 32)], keep_ratio=True)
crop = [
    dict(type="RandomChoiceResize", scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
    dict(type="RandomCrop", crop_type="absolute_range", crop_size=(384, 600), allow_negative_crop=True),
    resize,
]
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomChoice", transforms=[[resize], crop]),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

train_cfg = dict(max_epochs=36)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=36, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
