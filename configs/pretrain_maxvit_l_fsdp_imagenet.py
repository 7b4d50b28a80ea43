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
]

model = dict(network=dict(model_name="maxvit_l", drop_path_rate=0.6))

runner_type = "FlexibleRunner"
strategy = dict(
    type="ResumableFSDPStrategy",
    model_wrapper=dict(
        type="MMFullyShardedDataParallel",
        use_orig_params=True,  # the optimizer's rules go by the parameters' names
        auto_wrap_policy=dict(
            type="torch.distributed.fsdp.wrap.size_based_auto_wrap_policy", min_num_params=10_000_000
        ),
        mixed_precision=dict(param_dtype="bfloat16", reduce_dtype="float32", buffer_dtype="float32"),
    ),
    state_dict_cfg="full",  # checkpoints of one file, as every other training writes them
)
