# ATSS with timm's own MaxViT-pico at one size on BCCD: a peer of MaxViT-mini, random weights.
#
# Recipe:   as atss_maxvit_mini_bccd.py, head and order of the images too. timm's network takes one size, so each image
#           is extended with zeros to the largest of training, 384x288, and its windows are of 12x9.
# Command:  python tools/train.py configs/atss_timm_maxvit_pico_bccd.py --data-root data/bccd
# Machine:  2 CPU cores, batch 4.
# Result:   cut to 400 steps: box AP 0.558, AP50 0.879 (ours, seed 0; MaxViT-mini 0.532, 0.876), see docs/results.md.
_base_ = "./atss_maxvit_mini_bccd.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="maxvit_rmlp_pico_rw_256",
        img_size=(288, 384),
        out_indices=(1, 2, 3),
    ),
)
