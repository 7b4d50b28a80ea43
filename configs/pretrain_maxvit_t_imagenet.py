# MaxViT-T on ImageNet-1k from scratch, the paper's recipe.
#
# Recipe:   arXiv 2204.01697, table 12; moving average of the weights as google-research/maxvit vision_i1k.py has it.
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/pretrain_maxvit_t_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
# GPUs:     any number that divides 4096 / 64: batches of 64 are accumulated to 4096 images a step.
# Result:   not yet run. The paper's, on TPUs: top-1 83.62.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw_imagenet.py",
    "./_base_/classification_runtime.py",
]

sync_bn = "torch"  # as on TPUs; on GPUs only, between processes

# Of the official code: decay .9999, at the start (1 + steps) / (10 + steps), BatchNorm's statistics included
# (TensorFlow's dynamic decay). Checkpoints hold the averaged weights as state_dict and the others beside them;
# evaluation uses the averaged ones.
default_hooks = dict(
    ema=dict(type="StepEMAHook", ema_type="MomentumAnnealingEMA", momentum=1e-4, gamma=9, update_buffers=True)
)
