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
    "./_base_/finetune_imagenet.py",
    "./_base_/classification_ema_runtime.py",
]

model = dict(
    network=dict(window_size=12),
    data_preprocessor=dict(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), mixup=None),
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_t.in1k", head=False),
)
