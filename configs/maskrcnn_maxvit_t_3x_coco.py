# Mask R-CNN with MaxViT-T on COCO, 3x schedule at many scales.
#
# Recipe:   mmdetection configs/swin/mask-rcnn_swin-t-p4-w7_fpn_ms-crop-3x_coco.py; backbone of the 1x config.
# Command:  python tools/train.py configs/maskrcnn_maxvit_t_3x_coco.py --data-root data/coco
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: box AP 46.0, mask AP 41.6.
_base_ = ["./maskrcnn_maxvit_t_coco.py", "./_base_/schedule_3x.py"]

train_pipeline = {{_base_.multi_scale_pipeline}}
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_epochs={{_base_.epochs_3x}})
param_scheduler = {{_base_.param_scheduler_3x}}
