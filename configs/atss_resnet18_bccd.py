# ATSS with ResNet-18 on BCCD: a peer of MaxViT-mini, random weights.
#
# Recipe:   as atss_maxvit_mini_bccd.py, head and order of the images too.
# Command:  python tools/train.py configs/atss_resnet18_bccd.py --data-root data/bccd
# Machine:  2 CPU cores, batch 4.
# Result:   of crops of 224 pixels, as the recipe was, in docs/results.md; of whole images not yet run.
_base_ = "./atss_maxvit_mini_bccd.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="resnet18",
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
