# ATSS with CoAtNet-pico on BCCD: a peer of MaxViT-mini, random weights.
#
# Recipe:   as atss_maxvit_mini_bccd.py, head and order of the images too.
# Command:  python tools/train.py configs/atss_coatnet_pico_bccd.py --data-root data/bccd
# Machine:  2 CPU cores, batch 4.
# Result:   cut to 400 steps: box AP 0.556, AP50 0.889 (ours, seed 0; MaxViT-mini 0.532, 0.876), see docs/results.md.
_base_ = "./atss_maxvit_mini_bccd.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="CoAtNet",
        arch="pico_rw",
        out_indices=(1, 2, 3),
    ),
    neck=dict(in_channels=[128, 256, 512]),
)
