# MaxViT-T on ImageNet-1k from scratch, the PyTorch recipe: mixup and cutmix, random erasing, no moving average.
#
# Recipe:   README of hankyul2/maxvit-pytorch (timm's training script, maxvit_tiny_tf_224).
# Command:  torchrun --nproc_per_node=4 tools/train.py configs/pretrain_maxvit_t_cutmix_imagenet.py \
#               --launcher pytorch --amp --data-root imagenet/
# GPUs:     4 x 64 images, accumulated 16 times; others as pretrain_maxvit_t_imagenet.py. Theirs took about 5 days on
#           four RTX 3090.
# Result:   not yet run. Theirs: top-1 83.82, top-5 96.53.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw_imagenet.py",
    "./_base_/classification_runtime.py",
]

train_dataloader = dict(dataset=dict(transform=dict(auto_augment="rand-m15-mstd0.5-inc1", interpolation="random")))
model = dict(
    data_preprocessor=dict(
        mixup=dict(cutmix_alpha=1.0, prob=1.0, switch_prob=0.5),
        random_erasing=dict(probability=0.25, mode="pixel"),
    )
)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6 / 3e-3, begin=0, end=30, by_epoch=True, convert_to_iter_based=True),
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-5 / 3e-3,
        begin=30,
        end=300,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
