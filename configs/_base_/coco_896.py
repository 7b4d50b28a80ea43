# COCO for backbones of a fixed square size: the longer side becomes 896 pixels, the square of MaxViT's own COCO recipe,
# and the backbone extends the shorter one. Elsewhere as mmdetection configs/_base_/datasets/coco_instance.py.
fit_896 = dict(type="Resize", scale=(896, 896), keep_ratio=True)

train_pipeline_896 = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    fit_896,
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline_896 = [
    dict(type="LoadImageFromFile"),
    fit_896,
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(type="PackDetInputs", meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor")),
]
