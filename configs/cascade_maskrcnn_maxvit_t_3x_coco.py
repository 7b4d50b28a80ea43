# Cascade Mask R-CNN with MaxViT-T on COCO, 3x schedule at many scales.
#
# Recipe:   mmdetection configs/convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py
#           for the heads; learning rate, weight decay and drop path as in maskrcnn_maxvit_t_3x_coco.py.
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_t_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T and ConvNeXt-T on this recipe: box AP 50.4, mask AP 43.7.
_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "mmdet::_base_/default_runtime.py",
    "./_base_/coco_multi_scale.py",
    "./_base_/maxvit.py",
    "./_base_/adamw.py",
    "./_base_/schedule_3x.py",
]

model = dict(
    backbone=_base_.pop("backbone"),
    neck=dict(in_channels=[64, 128, 256, 512]),
    roi_head=dict(
        # Three stages of ever finer boxes, each with four normed convolutions, one hidden layer and GIoU on decoded
        # boxes.
        bbox_head=[
            dict(
                type="Shared4Conv1FCBBoxHead",
                in_channels=256,
                conv_out_channels=256,
                fc_out_channels=1024,
                roi_feat_size=7,
                num_classes=80,
                bbox_coder=dict(type="DeltaXYWHBBoxCoder", target_means=[0.0, 0.0, 0.0, 0.0], target_stds=stds),
                reg_class_agnostic=False,
                reg_decoded_bbox=True,
                norm_cfg=dict(type="SyncBN", requires_grad=True),
                loss_cls=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
                loss_bbox=dict(type="GIoULoss", loss_weight=10.0),
            )
            for stds in ([0.1, 0.1, 0.2, 0.2], [0.05, 0.05, 0.1, 0.1], [0.033, 0.033, 0.067, 0.067])
        ]
    ),
)
