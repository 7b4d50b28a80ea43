# Cascade Mask R-CNN with MaxViT-T on COCO, 3x schedule at many scales.
#
# Recipe:   mmdetection configs/convnext/cascade-mask-rcnn_convnext-t-p4-w7_fpn_4conv1fc-giou_amp-ms-crop-3x_coco.py
#           for the heads; learning rate, drop path and weight decay as all our configs (adamw.py, maxvit.py).
# Command:  python tools/train.py configs/cascade_maskrcnn_maxvit_t_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T and ConvNeXt-T on this recipe: box AP 50.4, mask AP 43.7.
_base_ = [
    "mmdet::_base_/models/cascade-mask-rcnn_r50_fpn.py",
    "mmdet::_base_/datasets/coco_instance.py",
    "./_base_/adamw_1x.py",
    "./_base_/cascade_heads.py",
    "./_base_/maxvit.py",
    "./_base_/maxvit_runtime.py",
    "./_base_/schedule_3x.py",
]

model = dict(
    backbone={{_base_.maxvit_t}},
    neck=dict(in_channels={{_base_.maxvit_t_channels}}),
    roi_head=dict(bbox_head={{_base_.cascade_heads}}),
)

train_pipeline = {{_base_.multi_scale_pipeline}}
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs={{_base_.epochs_3x}})
param_scheduler = {{_base_.param_scheduler_3x}}
