# UPerNet with GC ViT-T on ADE20K, 160k iterations, 512x512 crops: a peer of MaxViT-T.
#
# Recipe:   as upernet_maxvit_t_ade20k.py; backbone as in maskrcnn_gcvit_t_coco.py, with windows of 16 tokens, timm's
#           rule for crops of 512 pixels.
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
)
