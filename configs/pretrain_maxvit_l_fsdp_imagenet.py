# MaxViT-L on ImageNet-1k from scratch, with weights, gradients and moments in shards over the GPUs (FSDP).
#
# Recipe:   as pretrain_maxvit_l_imagenet.py, without moving average, which would hold a whole copy on each GPU, and
#           with BatchNorm over each GPU's own images: mmengine's FSDP strategy has no SyncBN.
#           XL: --cfg-options model.network.model_name=maxvit_xl model.network.drop_path_rate=0.7
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/pretrain_maxvit_l_fsdp_imagenet.py --launcher pytorch \
#               --data-root imagenet/
# GPUs:     as pretrain_maxvit_l_imagenet.py. bfloat16 comes from the strategy: leave --amp out.
# Result:   not yet run.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw_imagenet.py",
    "./_base_/classification_runtime.py",
    "./_base_/fsdp.py",
]

model = dict(network=dict(model_name="maxvit_l", drop_path_rate=0.6))
