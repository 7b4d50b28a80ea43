# Mask R-CNN with CoAtNet-0 on COCO, 1x schedule, images within 896x896: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_gcvit_t_coco.py, whose size it shares: CoAtNet attends globally at strides 16 and 32, and its
#           tables of biases, resized from 14 and 7 tokens, fix the size. At 896 one layer of stride 16 holds 12 x 3136
#           x 3136 biases, 472 MB; 1344x1344, where the recipe's 1333x800 would fit, needs 2.4 GB for each of seven
#           layers. Drop path rate as MaxViT-T's, having none of its own; images normalised as its weights were.
# Command:  python tools/train.py configs/maskrcnn_coatnet_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in detection is known.
_base_ = "./maskrcnn_gcvit_t_coco.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="coatnet_0_rw_224.sw_in1k",
        img_size=896,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="sw_in1k", missing_ok=True),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
