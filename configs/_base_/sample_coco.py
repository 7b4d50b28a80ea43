# The drawn sample data in COCO layout and a short schedule from random weights, as variables: what a demo config adds
# to the real config of its family.
#
#   train_dataloader=dict(**loader, dataset={{_base_.sample_train}}) and so on
#
# Two CPU cores, batch 4: from random weights many small steps learn more than few large ones.
sample_classes = ("circle", "square", "triangle", "star", "ring", "cross")
sample_num_classes = len(sample_classes)
sample_scale = (176, 144)
sample_width = 64  # channels of neck and heads; 256 in the real configs

sample_train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=sample_scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
sample_test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=sample_scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
sample_data = dict(data_root="data/sample/coco/", metainfo=dict(classes=sample_classes))
sample_train_dataloader = dict(
    batch_size=4,
    num_workers=1,
    dataset=dict(**sample_data, pipeline=sample_train_pipeline),
)
sample_train_pairs = dict(sample_train_dataloader, batch_size=2)
sample_val_dataloader = dict(num_workers=1, dataset=dict(**sample_data, pipeline=sample_test_pipeline))
sample_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

sample_epochs = 16
sample_train_cfg = dict(max_epochs=sample_epochs, val_interval=sample_epochs)
sample_param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=sample_epochs, by_epoch=True, convert_to_iter_based=True),
]
sample_optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
sample_auto_scale_lr = dict(base_batch_size=4)
sample_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))


# For the heavier families: minutes, not a quarter of an hour.
def short(steps, batch_size=4):
    epochs = steps * batch_size // 400  # images of the training set
    return dict(
        steps=steps,
        by_epoch=dict(max_epochs=epochs, val_interval=epochs),
        by_step=dict(max_iters=steps, val_interval=steps),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
            dict(type="CosineAnnealingLR", begin=0, end=steps, by_epoch=False),
        ],
    )


sample_400 = short(400)
sample_600 = short(600)
sample_800 = short(800)
sample_1200_pairs = short(1200, batch_size=2)
