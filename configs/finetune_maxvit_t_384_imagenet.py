# MaxViT-T, pretrained on ImageNet-1k at 224, fine-tuned at 384.
#
# Recipe:   arXiv 2204.01697, table 12: no mixup, stochastic depth of the pretraining, a new classifier, window 12 with
#           the bias tables of window 7 resized in the forward pass, as google-research/maxvit trains.
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/finetune_maxvit_t_384_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
#           from weights of one's own: --cfg-options model.init_cfg.checkpoint=work_dirs/.../epoch_300.pth
# GPUs:     any number that divides 512 / 16.
# Result:   not yet run. The paper's, on TPUs: top-1 85.24.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw.py",
    "./_base_/classification_runtime.py",
]

model = dict(
    network=dict(window_size=12),
    data_preprocessor=dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), mixup=None),
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_t.in1k", head=False),
)

# Whole images squashed to the square: timm's random resized crop takes the whole image, whatever its shape, when it may
# take nothing less.
train_dataloader = dict(
    batch_size=16,
    dataset=dict(transform=dict(input_size=384, scale=(1.0, 1.0), ratio=(0.01, 100.0))),
)
val_dataloader = dict(
    batch_size=32,
    dataset=dict(transform=dict(input_size=384, crop_pct=1.0, crop_mode="squash")),
)
test_dataloader = val_dataloader

# 30 epochs at a constant rate, 512 images a step.
total_batch_size = 512
optim_wrapper = dict(optimizer=dict(lr=5e-5, weight_decay=1e-8), clip_grad=dict(max_norm=1.0))
auto_scale_lr = dict(base_batch_size=512)
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=30, val_interval=1)
param_scheduler = []

# As pretrain_maxvit_t_imagenet.py.
default_hooks = dict(
    ema=dict(type="StepEMAHook", ema_type="MomentumAnnealingEMA", momentum=1e-4, gamma=9, update_buffers=True)
)
