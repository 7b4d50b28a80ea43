# MaxViT-T as every detector of this folder has it: registered (training refuses to start if that fails), its
# BatchNorm, its depth and its weights. Segmentors have theirs from segmentor.py.
#
#   model = dict(backbone=_base_.pop("backbone"), neck=dict(in_channels=[64, 128, 256, 512]))
#
# `pop` takes it out of the bases, since what stays there stands in the resolved config. Another size is plain values
# in a child: arch, drop_path_rate, init_cfg.checkpoint, and the widths [96, 192, 384, 768] of both S and B.
custom_imports = dict(imports=["maxvit_dense.openmmlab"], allow_failed_imports=False)

backbone = dict(
    _delete_=True,
    type="MaxViT",
    arch="t",
    out_indices=(0, 1, 2, 3),  # strides 4, 8, 16, 32
    window_size=7,
    # Of the ImageNet training (paper, table 12): .2 / .3 / .4 for T / S / B. InternImage, a peer of like strength,
    # keeps the same in detection and segmentation.
    drop_path_rate=0.2,
    norm_eval=False,  # of all detectors: BatchNorm trains, on the images of each GPU
    # Without a network training goes on from random weights, with a warning; missing_ok=False stops instead.
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_t.in1k", missing_ok=True),
)
