# MaxViT-mini (ours, not the paper's) on CIFAR-10 as class folders, 1,000 images a class enlarged to 64 pixels.
#
# Recipe:   that of pretrain_maxvit_t_cutmix_imagenet.py, shortened for two CPU cores: batch 64, lighter augmentation,
#           no random erasing.
# Command:  python tools/train.py configs/pretrain_maxvit_mini_cifar10.py --data-root data/cifar10
# Machine:  2 CPU cores.
# Result:   65.0% top-1, 97.0% top-5 on the validation folder (ours, seed 0); peers: docs/results.md.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw_imagenet.py",
    "./_base_/classification_runtime.py",
]

model = dict(
    network=dict(model_name="maxvit_mini", drop_path_rate=0.0, window_size=4, num_classes=10),
    data_preprocessor=dict(mixup=None),
)
train_dataloader = dict(
    num_workers=1,
    pin_memory=False,
    dataset=dict(
        data_root="data/cifar10/",
        transform=dict(input_size=64, scale=(0.35, 1.0), auto_augment="rand-m5-n1"),
    ),
)
val_dataloader = dict(
    num_workers=1,
    pin_memory=False,
    dataset=dict(data_root="data/cifar10/", transform=dict(input_size=64, crop_pct=1.0)),
)
test_dataloader = val_dataloader

total_batch_size = 64
optim_wrapper = dict(optimizer=dict(lr=1e-3), clip_grad=dict(max_norm=5.0))
auto_scale_lr = dict(base_batch_size=64)
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=1, end=10, by_epoch=True, convert_to_iter_based=True),
]
default_hooks = dict(checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
