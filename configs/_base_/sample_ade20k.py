# The drawn sample data in ADE20K's layout, and a schedule for two CPU cores: what turns a config of this folder into a
# demo. All of it stands in variables, since a config that already names its data and schedule takes it.
#
#   train_dataloader={{_base_.sample_train_dataloader}}, and so on: demo_upernet_maxvit_mini_sample.py
sample_num_classes = 10
sample_data = dict(
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
)
sample_scale = (128, 96)
sample_crop = (96, 96)

sample_train_dataloader = dict(
    batch_size=4,  # from random weights many small steps learn more than few large ones
    num_workers=1,
    dataset=dict(
        **sample_data,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="LoadAnnotations"),
            dict(type="RandomResize", scale=sample_scale, ratio_range=(0.8, 1.3), keep_ratio=True),
            dict(type="RandomCrop", crop_size=sample_crop, cat_max_ratio=0.75),
            dict(type="RandomFlip", prob=0.5),
            dict(type="PackSegInputs"),
        ],
    ),
)
sample_val_dataloader = dict(
    num_workers=1,
    dataset=dict(
        **sample_data,
        pipeline=[
            dict(type="LoadImageFromFile"),
            dict(type="Resize", scale=sample_scale, keep_ratio=True),
            dict(type="LoadAnnotations"),
            dict(type="PackSegInputs"),
        ],
    ),
)
sample_preprocessor = dict(size=sample_crop)
sample_test_cfg = dict(crop_size=sample_crop, stride=(64, 64))

sample_optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))


def schedule(steps):
    return dict(
        train_cfg=dict(max_iters=steps, val_interval=steps),
        param_scheduler=[
            dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
            dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=50, end=steps),
        ],
        default_hooks=dict(logger=dict(interval=20), checkpoint=dict(interval=steps, max_keep_ckpts=1)),
    )


sample_2000 = schedule(2000)
sample_2600 = schedule(2600)
