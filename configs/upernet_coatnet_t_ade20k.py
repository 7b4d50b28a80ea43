# UPerNet with CoAtNet-0 on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py, whole images in evaluation too; backbone as in maskrcnn_coatnet_t_coco.py,
#           whose layers fit a crop without being computed again.
# Command:  python tools/train.py configs/upernet_coatnet_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in segmentation is known.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type="CoAtNet",
        arch="0_rw",
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="coatnet_0_rw.sw_in1k", missing_ok=True),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
