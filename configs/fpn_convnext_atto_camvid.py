# Semantic FPN with ConvNeXt-atto on CamVid: a peer of MaxViT-mini, random weights.
#
# Recipe:   as fpn_maxvit_mini_camvid.py, head and order of the images too.
# Command:  python tools/train.py configs/fpn_convnext_atto_camvid.py --data-root data/camvid
# Machine:  2 CPU cores, batch 4.
# Result:   cut to 500 steps: mIoU 21.9 (ours, mean of three seeds; MaxViT-mini 40.0), see docs/results.md.
_base_ = "./fpn_maxvit_mini_camvid.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="convnext_atto",
        out_indices=(0, 1, 2, 3),
    ),
    neck=dict(in_channels=[40, 80, 160, 320]),
)
