# UPerNet with MaxViT-nano on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone as in maskrcnn_maxvit_nano_coco.py.
# Command:  python tools/train.py configs/upernet_maxvit_nano_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        arch="nano",
        window_size=8,
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="maxvit_nano.rmlp_rw_256"),
    ),
)
