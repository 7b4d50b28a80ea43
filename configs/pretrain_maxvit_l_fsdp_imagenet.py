# MaxViT-L on ImageNet-1k from scratch, with weights, gradients and moments in shards over the GPUs (FSDP2).
#
# Recipe:   as pretrain_maxvit_l_imagenet.py, without moving average, which would hold a whole copy on each GPU.
#           XL: --cfg-options model.network.model_name=maxvit_xl model.network.drop_path_rate=0.7
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/pretrain_maxvit_l_fsdp_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
# GPUs:     as pretrain_maxvit_l_imagenet.py. docs/pretraining.md says from which size on it pays.
# Result:   not yet run.
_base_ = [
    "./_base_/maxvit_classifier.py",
    "./_base_/imagenet.py",
    "./_base_/adamw_imagenet.py",
    "./_base_/classification_runtime.py",
]

model = dict(network=dict(model_name="maxvit_l", drop_path_rate=0.6))

runner_type = "FlexibleRunner"
strategy = dict(type="ShardedStrategy", sync_bn="torch")  # on GPUs only
