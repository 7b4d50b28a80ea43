# UPerNet with CoAtNet-0 on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_gcvit_t_ade20k.py, sliding windows of the one size that its tables of biases allow; backbone as
#           in maskrcnn_coatnet_t_coco.py.
# Command:  python tools/train.py configs/upernet_coatnet_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run; no published figure of CoAtNet in segmentation is known.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    data_preprocessor=dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5]),
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="coatnet_0_rw_224.sw_in1k",
        img_size=512,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="sw_in1k", missing_ok=True),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
    test_cfg=dict(mode="slide"),
)
