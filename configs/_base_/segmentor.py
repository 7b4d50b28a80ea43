# What the segmentation models share: MaxViT-T, preprocessing, and how a whole image is evaluated.
#
# Whole images by default, since MaxViT takes any size. Sliding windows of the training crop's size instead, averaged
# where they overlap: --cfg-options model.test_cfg.mode=slide
model = dict(
    type="EncoderDecoder",
    backbone=dict(
        type="MaxViT",
        arch="t",
        out_indices=(0, 1, 2, 3),
        window_size=7,
        drop_path_rate=0.2,  # as in detection: maxvit.py
        norm_eval=False,  # of all segmentors: BatchNorm trains, on the images of each GPU
        init_cfg=dict(type="Pretrained", checkpoint="maxvit_t.in1k", missing_ok=True),
    ),
    data_preprocessor=dict(
        type="SegDataPreProcessor",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(512, 512),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole", crop_size=(512, 512), stride=(341, 341)),
)
