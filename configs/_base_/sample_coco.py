# The drawn sample data in COCO's layout, which a demo puts in the place of its config's data:
#
#   train_dataloader = _base_.pop("sample_train_dataloader")
#   val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
#
# `pop` takes them out of the bases, since what stays there stands in the resolved config.
sample_train_dataloader = dict(
    batch_size=4,  # from random weights many small steps learn more than few large ones
    num_workers=1,
    dataset=dict(
        data_root="data/sample/coco/",
        metainfo=dict(classes=("circle", "square", "triangle", "star", "ring", "cross")),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="Resize", scale=(176, 144), keep_ratio=True),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackDetInputs"),
        ],
    ),
)
sample_val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        sample_train_dataloader["dataset"],
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(176, 144), keep_ratio=True),
            dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
            dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
        ],
    ),
)
