# Mask R-CNN with GC ViT-T on COCO, 1x schedule, images within 896x896: a peer of MaxViT-T.
#
# Recipe:   as maskrcnn_maxvit_t_coco.py but for the size; backbone through timm, with the drop path rate of GC ViT's
#           own detector and its LayerNorm on each map, not in the weights of ImageNet (NVlabs/GCVit detection/).
#           timm's GC ViT takes one size only, a multiple of 32: the global query is pooled to exactly one window.
#           Images are resized to 896 on the longer side (the square of MaxViT's own COCO recipe), not to 1333x800, and
#           extended to the square inside the backbone. A 4:3 photograph is seen at 896x672 in place of 1067x800, so
#           small objects cost AP, and a quarter of the backbone's work is on padding. Windows are 1/32 of the image at
#           every stage, as in its own detector (24 tokens there); tables of biases are resized from 7, 7, 14, 7.
# Command:  python tools/train.py configs/maskrcnn_gcvit_t_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. Published, 3x at many scales, free sizes, windows of 24: box AP 47.9, mask AP 43.2.
_base_ = "./maskrcnn_maxvit_t_coco.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="TimmFeatures",
        model_name="gcvit_tiny.in1k",
        img_size=896,
        window_ratio=32,
        out_norm=True,
        drop_path_rate=0.2,
        init_cfg=dict(type="Pretrained", checkpoint="in1k", missing_ok=True),
    ),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="Resize", scale=(896, 896), keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(896, 896), keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
