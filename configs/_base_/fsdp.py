# Weights, gradients and moments in shards over the GPUs, through mmengine's strategy: for sizes that do not fit one.
runner_type = "FlexibleRunner"
strategy = dict(
    type="FSDPStrategy",
    model_wrapper=dict(type="MMFullyShardedDataParallel", use_orig_params=True),
    state_dict_cfg="full",  # checkpoints of one file, as every other training writes them
)
