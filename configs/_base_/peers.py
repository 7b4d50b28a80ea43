# The peers that MaxViT is compared with, through timm: what every config of this folder takes them with, in one place.
#
#   _base_ = ["./maskrcnn_maxvit_t_coco.py", "./_base_/peers.py"]
#   model = dict(backbone={{_base_.swin_t}}, neck=dict(in_channels={{_base_.swin_t_channels}}))
#
# Only the backbone differs from MaxViT's recipe: no layer-wise decay for ConvNeXt, say, which its own recipe has.
# Stochastic depth is that of each peer's own detector or segmentor: Swin, mmdetection and mmsegmentation configs/swin;
# ConvNeXt, facebookresearch/ConvNeXt; GC ViT, NVlabs/GCVit detection/, for both tasks. CoAtNet has none: as MaxViT-T.
# A LayerNorm on each map (out_norm) as those repositories have it. It is not in the weights of ImageNet.

# Any size. Windows are padded and shifted at every stage, as in Swin's own detector; timm does so only on request. On
# maps that 7 does not divide timm pads behind the shift rather than before it, so windows at the lower and right edge
# see other neighbours than in mmdetection's Swin.
swin_t = dict(
    _delete_=True,
    type="TimmFeatures",
    model_name="swin_tiny_patch4_window7_224.ms_in1k",
    strict_img_size=False,
    always_partition=True,
    out_norm=True,
    drop_path_rate=0.2,
    init_cfg=dict(type="Pretrained", checkpoint="ms_in1k", missing_ok=True),
)
swin_t_ade20k = dict(swin_t, drop_path_rate=0.3)
swin_t_channels = [96, 192, 384, 768]

# Any size.
convnext_t = dict(
    _delete_=True,
    type="TimmFeatures",
    model_name="convnext_tiny.fb_in1k",
    out_norm=True,
    drop_path_rate=0.4,
    init_cfg=dict(type="Pretrained", checkpoint="fb_in1k", missing_ok=True),
)
convnext_t_channels = [96, 192, 384, 768]
# Its layer scale is one vector a block, which decays as little as other vectors.
convnext_t_optim_wrapper = dict(paramwise_cfg=dict(custom_keys=dict(gamma=dict(decay_mult=0.0))))

# Fixed size, a multiple of 32: the global query is pooled to exactly one window. Windows of 1/32 of the image at every
# stage, as GC ViT's own detector has them (24 tokens there); the tables of bias are resized from 7, 7, 14, 7.
gcvit_t = dict(
    _delete_=True,
    type="TimmFeatures",
    model_name="gcvit_tiny.in1k",
    img_size=896,
    window_ratio=32,
    out_norm=True,
    drop_path_rate=0.2,
    init_cfg=dict(type="Pretrained", checkpoint="in1k", missing_ok=True),
)
gcvit_t_ade20k = dict(gcvit_t, img_size=512)
gcvit_t_channels = [64, 128, 256, 512]

# Fixed size, a multiple of 32: strides 16 and 32 attend globally, with a table of biases for every offset in the map;
# the tables are resized from 14 and 7 tokens. At 896 one layer of stage 3 holds 12 x 3136 x 3136 biases, 472 MB.
coatnet_t = dict(
    _delete_=True,
    type="TimmFeatures",
    model_name="coatnet_0_rw_224.sw_in1k",
    img_size=896,
    out_norm=True,
    drop_path_rate=0.2,
    init_cfg=dict(type="Pretrained", checkpoint="sw_in1k", missing_ok=True),
)
coatnet_t_ade20k = dict(coatnet_t, img_size=512)
coatnet_t_channels = [96, 192, 384, 768]
# Its weights were trained with these, not with ImageNet's mean and deviation.
coatnet_t_normalization = dict(mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5])
