# Weights, gradients and moments in shards over the GPUs, through mmengine's strategy: for sizes that do not fit one.
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
