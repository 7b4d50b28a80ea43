# The backbone at each size: what every config of this folder takes it with, in one place.
#
#   backbone={{_base_.maxvit_t}}, neck=dict(in_channels={{_base_.maxvit_t_channels}})
#
# Stochastic depth is that of the ImageNet training (paper, table 12); InternImage, a peer of like strength, keeps the
# same .2 / .3 / .4 in detection and segmentation. Without a network training goes on from random weights, with a
# warning; init_cfg.missing_ok=False stops instead.
maxvit_t = dict(
    _delete_=True,
    type="MaxViT",
    arch="t",
    out_indices=(0, 1, 2, 3),
    window_size=7,
    drop_path_rate=0.2,
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_t.in1k", missing_ok=True),
)
maxvit_s = dict(
    _delete_=True,
    type="MaxViT",
    arch="s",
    out_indices=(0, 1, 2, 3),
    window_size=7,
    drop_path_rate=0.3,
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_s.in1k", missing_ok=True),
)
maxvit_b = dict(
    _delete_=True,
    type="MaxViT",
    arch="b",
    out_indices=(0, 1, 2, 3),
    window_size=7,
    drop_path_rate=0.4,
    init_cfg=dict(type="Pretrained", checkpoint="maxvit_b.in1k", missing_ok=True),
)
# Ours, not the paper's, and without weights: for the demos.
maxvit_mini = dict(
    _delete_=True,
    type="MaxViT",
    arch="mini",
    out_indices=(0, 1, 2, 3),
    window_size=7,
    drop_path_rate=0.0,
)

maxvit_t_channels = [64, 128, 256, 512]
maxvit_s_channels = maxvit_b_channels = [96, 192, 384, 768]
maxvit_mini_channels = [32, 64, 128, 256]

# Without the map of stride 4, for heads that begin at stride 8.
maxvit_t_from8 = dict(maxvit_t, out_indices=(1, 2, 3))
maxvit_b_from8 = dict(maxvit_b, out_indices=(1, 2, 3))
maxvit_mini_from8 = dict(maxvit_mini, out_indices=(1, 2, 3))
maxvit_t_from8_channels = maxvit_t_channels[1:]
maxvit_s_from8_channels = maxvit_b_from8_channels = maxvit_b_channels[1:]
maxvit_mini_from8_channels = maxvit_mini_channels[1:]

# Of the official COCO recipe (docs/official_recipe.md): one window of 1/32 of the square image covers the map of
# stride 32; stochastic depth is 1 - survival_prob of each YAML file, of T at 896 that of the paper.
maxvit_t_896 = dict(maxvit_t, out_indices=(1, 2, 3), window_size=28, drop_path_rate=0.2)
maxvit_s_896 = dict(maxvit_s, out_indices=(1, 2, 3), window_size=28, drop_path_rate=0.5)
maxvit_b_896 = dict(maxvit_b, out_indices=(1, 2, 3), window_size=28, drop_path_rate=0.8)
maxvit_t_640 = dict(maxvit_t, out_indices=(1, 2, 3), window_size=20, drop_path_rate=0.7)
maxvit_b_640 = dict(maxvit_b, out_indices=(1, 2, 3), window_size=20, drop_path_rate=0.3)
maxvit_mini_192 = dict(maxvit_mini, out_indices=(1, 2, 3), window_size=6)
