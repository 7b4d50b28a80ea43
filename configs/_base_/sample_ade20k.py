# The drawn sample data in ADE20K's layout, which a demo puts in the place of its config's data:
#
#   train_dataloader = _base_.pop("sample_train_dataloader")
#   val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
#
# `pop` takes them out of the bases, since what stays there stands in the resolved config.
sample_train_dataloader = dict(
    batch_size=4,  # from random weights many small steps learn more than few large ones
    num_workers=1,
    dataset=dict(
        type="BaseSegDataset",  # ADE20KDataset knows its own classes alone
        data_root="data/sample/ade/ADEChallengeData2016",
        reduce_zero_label=True,  # plain ground is unlabelled
        metainfo=dict(
            classes=("circle", "square", "triangle", "star", "ring", "cross", "cloud", "stripes", "checker", "dots"),
            palette=[
                (230, 25, 75),
                (60, 180, 75),
                (255, 225, 25),
                (0, 130, 200),
                (245, 130, 48),
                (145, 30, 180),
                (70, 240, 240),
                (128, 128, 0),
                (170, 110, 40),
                (128, 128, 128),
            ],
        ),
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="RandomResize", scale=(128, 96), ratio_range=(0.8, 1.3), keep_ratio=True),
            dict(type="RandomCrop", crop_size=(96, 96), cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
sample_val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        sample_train_dataloader["dataset"],
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=(128, 96), keep_ratio=True),
            dict(type="LoadAnnotations"),
            dict(type="PackSegInputs"),
        ],
    ),
)
