# UPerNet with ConvNeXt-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone as in maskrcnn_convnext_t_coco.py.
# Command:  python tools/train.py configs/upernet_convnext_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, lr 1e-4 with stage-wise decay 0.9: mIoU 46.0, multi-scale 46.7.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="convnext_tiny.fb_in1k",
        out_norm=True,
        drop_path_rate=0.4,
        init_cfg=dict(type="Pretrained", checkpoint="fb_in1k", missing_ok=True),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768]),
    auxiliary_head=dict(in_channels=384),
)
# Its layer scale is one vector a block, which decays as little as other vectors.
optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(gamma=dict(decay_mult=0.0))))
