# Mask R-CNN with CoAtNet-0 on COCO, 1x schedule: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py, its sizes and stochastic depth too; images normalised as the weights were.
#           CoAtNet attends to the whole map at strides 16 and 32: at 1333x800 a layer of stride 16 holds biases of
#           12 x 4200 x 4200, 0.85 GB in float32, so blocks are computed again in the backward pass.
# Command:  python tools/train.py configs/maskrcnn_coatnet_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in detection is known.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type="CoAtNet",
        arch="0_rw",
        drop_path_rate=0.2,
        with_cp=True,
        init_cfg=dict(type="Pretrained", checkpoint="coatnet_0_rw.sw_in1k", missing_ok=True),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
