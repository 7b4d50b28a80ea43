# What every segmentation config runs with: MaxViT registered, as maxvit.py does for detection, iterations
# counted in place of epochs. mmsegmentation configs/_base_/default_runtime.py; `mmseg::` bases do not resolve.
default_scope = "mmseg"
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

env_cfg = dict(
    cudnn_benchmark=False,  # images of every size are evaluated, and each would be benchmarked anew
    mp_cfg=dict(mp_start_method="fork", opencv_num_threads=0),
    dist_cfg=dict(backend="nccl"),
)
default_hooks = dict(
    timer=dict(type="IterTimerHook"),
    logger=dict(type="LoggerHook", interval=50, log_metric_by_epoch=False),
    param_scheduler=dict(type="ParamSchedulerHook"),
    checkpoint=dict(type="CheckpointHook", by_epoch=False, interval=8000, max_keep_ckpts=2),
    sampler_seed=dict(type="DistSamplerSeedHook"),
    visualization=dict(type="SegVisualizationHook"),
)
visualizer = dict(type="SegLocalVisualizer", vis_backends=[dict(type="LocalVisBackend")], name="visualizer", alpha=0.5)
log_processor = dict(type="LogProcessor", window_size=50, by_epoch=False)
log_level = "INFO"
load_from = None
resume = False
