# 30 epochs of fine-tuning at a larger size: AdamW, 512 images a step, constant learning rate, whole images squashed to
# the square in training and evaluation, mean and std 0.5 (paper, table 12; google-research/maxvit). RandAugment is
# written as in imagenet.py.
transform = dict(input_size=384, interpolation="bicubic")
dataset = dict(type="ClassFolders", data_root="data/imagenet/")
workers = dict(num_workers=8, persistent_workers=True, pin_memory=True, collate_fn=dict(type="default_collate"))
train_dataloader = dict(
    batch_size=16,
    sampler=dict(type="EpochSampler"),
    # timm's random resized crop takes the whole image, whatever its shape, when it may take nothing less.
    dataset=dict(
        **dataset,
        split="train",
        training=True,
        transform=dict(**transform, auto_augment="rand-m15-n2-p1-mmax15", scale=(1.0, 1.0), ratio=(0.01, 100.0)),
    ),
    **workers,
)
val_dataloader = dict(
    batch_size=32,
    sampler=dict(type="DefaultSampler", shuffle=False),
    dataset=dict(**dataset, split="val", transform=dict(**transform, crop_pct=1.0, crop_mode="squash")),
    **workers,
)
test_dataloader = val_dataloader
val_evaluator = dict(type="TopAccuracy")
test_evaluator = val_evaluator

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=30, val_interval=1)
optim_wrapper = dict(
    type="OptimWrapper",
    optimizer=dict(type="AdamW", lr=5e-5, betas=(0.9, 0.999), weight_decay=1e-8),
    clip_grad=dict(max_norm=1.0),
    constructor="LayerDecayOptimWrapperConstructor",
    paramwise_cfg=dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(relative_position_bias_table=dict(decay_mult=0.0)),
        layer_decay_rate=1.0,  # below 1, earlier layers learn more slowly
    ),
)
param_scheduler = []
total_batch_size = 512
auto_scale_lr = dict(base_batch_size=512)
