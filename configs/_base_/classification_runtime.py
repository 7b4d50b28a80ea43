# What training and testing a classifier share, whatever the recipe: registration, log, checkpoints, repeatable draws.
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)
default_scope = "mmengine"

default_hooks = dict(
    logger=dict(type="LoggerHook", interval=50),
    checkpoint=dict(type="CheckpointHook", interval=1, max_keep_ckpts=3, save_best="accuracy/top1", rule="greater"),
    stream=dict(type="ImageStreamHook"),
    throughput=dict(type="ThroughputHook"),
)
env_cfg = dict(cudnn_benchmark=True, dist_cfg=dict(backend="nccl"))
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=True)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
load_from = None
resume = False
