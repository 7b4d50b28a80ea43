# Mask2Former (semantic) with MaxViT-T on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   mmsegmentation configs/mask2former/mask2former_swin-t_8xb2-160k_ade20k-512x512.py; the drop path rate of
#           MaxViT-T's ImageNet training.
# Command:  python tools/train.py configs/mask2former_maxvit_t_ade20k.py --data-root data/ade/ADEChallengeData2016
#           Evaluation: tools/test.py on whole images; in sliding windows with --cfg-options model.test_cfg.mode=slide;
#           at six scales (0.5-1.75), flipped too, with --tta.
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: mIoU 48.66.
_base_ = [
    "./_base_/mask2former_semantic.py",
    "./_base_/ade20k.py",
    "./_base_/mmseg_runtime.py",
    "./_base_/adamw.py",
    "./_base_/schedule_160k.py",
]

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(
        type="RandomChoiceResize",
        scales=[512 * tenths // 10 for tenths in range(5, 21)],
        resize_type="ResizeShortestEdge",
        max_size=2048,
    ),
    dict(type="RandomCrop", crop_size=(512, 512), cat_max_ratio=0.75),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PhotoMetricDistortion"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=160000)]
# The backbone at a tenth of the rate, embeddings without decay, gradients clipped hard.
optim_wrapper = dict(
    clip_grad=dict(max_norm=0.01, norm_type=2),
    paramwise_cfg=dict(
        custom_keys=dict(
            query_embed=dict(decay_mult=0.0), query_feat=dict(decay_mult=0.0), level_embed=dict(decay_mult=0.0)
        ),
        backbone_lr_mult=0.1,
    ),
)
