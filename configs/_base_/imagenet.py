# ImageNet, or any folder of class folders: images of 224 pixels, augmented as the paper trains (table 12) and centre
# cropped as timm evaluates. The classes are read from the folders.
train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="EpochSampler"),
    dataset=dict(
        type="ClassFolders",
        data_root="data/imagenet/",
        split="train",
        training=True,
        # RandAugment 2 x 15 as its authors define it: timm's own would use each operation every other time (p), and
        # cut magnitudes at 10 (mmax).
        transform=dict(input_size=224, auto_augment="rand-m15-n2-p1-mmax15", interpolation="bicubic"),
    ),
)
val_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    collate_fn=dict(type="default_collate"),
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(
        type="ClassFolders",
        data_root="data/imagenet/",
        split="val",
        transform=dict(input_size=224, crop_pct=0.95, interpolation="bicubic"),
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type="TopAccuracy")
test_evaluator = val_evaluator
