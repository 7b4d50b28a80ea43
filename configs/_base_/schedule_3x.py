# 36 epochs at many scales, as variables: what a 3x config adds to the data and the schedule of a 1x one.
#
#   train_pipeline={{_base_.multi_scale_pipeline}}, train_dataloader=dict(dataset=dict(pipeline=train_pipeline)),
#   train_cfg=dict(max_epochs={{_base_.epochs_3x}}), param_scheduler={{_base_.param_scheduler_3x}}
#
# Recipe: mmdetection configs/swin and configs/convnext. Half of the images are resized as they are, half are cropped
# in between (the augmentation of DETR and Sparse R-CNN).
resize = dict(type="RandomChoiceResize", scales=[(side, 1333) for side in range(480, 801, 32)], keep_ratio=True)
crop = [
    dict(type="RandomChoiceResize", scales=[(400, 1333), (500, 1333), (600, 1333)], keep_ratio=True),
    dict(type="RandomCrop", crop_type="absolute_range", crop_size=(384, 600), allow_negative_crop=True),
    resize,
]
multi_scale_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="RandomChoice", transforms=[[resize], crop]),
    dict(type="PackDetInputs"),
]

epochs_3x = 36
param_scheduler_3x = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=1000),
    dict(type="MultiStepLR", begin=0, end=epochs_3x, by_epoch=True, milestones=[27, 33], gamma=0.1),
]
