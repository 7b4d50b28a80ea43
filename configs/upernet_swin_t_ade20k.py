# UPerNet with Swin-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone as in maskrcnn_swin_t_coco.py, with the drop path rate
#           of Swin-T's own segmentor (mmsegmentation configs/swin).
# Command:  python tools/train.py configs/upernet_swin_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. mmsegmentation's own, on this recipe: mIoU 44.41; published 44.51, multi-scale 45.81.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="swin_tiny_patch4_window7_224.ms_in1k",
        strict_img_size=False,
        always_partition=True,
        out_norm=True,
        drop_path_rate=0.3,
        init_cfg=dict(type="Pretrained", checkpoint="ms_in1k", missing_ok=True),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
