# UPerNet with GC ViT-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone as in maskrcnn_gcvit_t_coco.py. timm's GC ViT takes one size only,
#           here that of the crops: training is the recipe's, evaluation slides a window of 512x512 by 341 pixels
#           instead of taking whole images. No window sees beyond its border, and overlaps are computed twice or more.
# Command:  python tools/train.py configs/upernet_gcvit_t_ade20k.py --data-root data/ade/ADEChallengeData2016
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published: mIoU 46.5, whether at one scale or many is not said.
_base_ = "./upernet_maxvit_t_ade20k.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="gcvit_tiny.in1k",
        img_size=512,
        window_ratio=32,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="in1k", missing_ok=True),
    ),
    test_cfg=dict(mode="slide"),
)
