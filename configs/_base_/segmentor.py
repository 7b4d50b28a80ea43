# What the segmentation models share: preprocessing, and how a whole image is evaluated.
#
# Whole images by default, since MaxViT takes any size. Sliding windows of the training crop's size instead, averaged
# where they overlap: --cfg-options model.test_cfg.mode=slide
model = dict(
    type="EncoderDecoder",
    backbone=dict(type="MaxViT"),  # one of maxvit.py takes its place
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
