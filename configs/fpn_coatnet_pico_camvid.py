# Semantic FPN with CoAtNet-pico on CamVid: a peer of MaxViT-mini, random weights.
#
# Recipe:   as fpn_maxvit_mini_camvid.py, head and order of the images too.
# Command:  python tools/train.py configs/fpn_coatnet_pico_camvid.py --data-root data/camvid
# Machine:  2 CPU cores, batch 4.
# Result:   cut to 500 steps: mIoU 35.8 (ours, mean of three seeds; MaxViT-mini 40.0), see docs/results.md.
_base_ = "./fpn_maxvit_mini_camvid.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="CoAtNet",
        arch="pico_rw",
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(in_channels=[64, 128, 256, 512]),
)
