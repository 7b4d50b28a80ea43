# The official COCO recipe with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of cascade_maskrcnn_maxvit_t_896_coco.py from random weights, with small images and
#           thin heads.
# Command:  python tools/make_sample_data.py data/sample && \
#               python tools/train.py configs/demo_cascade_official_maxvit_mini_sample.py --data-root data/sample/coco
# GPUs:     none: 2 CPU cores, batch 4.
# Result:   box AP50 0.263, mask AP50 0.249 on unseen images, loss 2.97 to 1.26; about 6 minutes of CPU time.
_base_ = ["./cascade_maskrcnn_maxvit_t_896_coco.py", "./_base_/sample_coco.py"]

width = {{_base_.sample_width}}
num_classes = {{_base_.sample_num_classes}}

model = dict(
    data_preprocessor=dict(pad_size_divisor={{_base_.official_192.side}}),
    backbone={{_base_.maxvit_mini_192}},
    neck=dict(in_channels={{_base_.maxvit_mini_from8_channels}}, out_channels=width),
    rpn_head=dict(in_channels=width, feat_channels=width),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=width),
        bbox_head={{_base_.thin_official_heads}},
        mask_roi_extractor=dict(out_channels=width),
        mask_head=dict(in_channels=width, conv_out_channels=32, num_convs=1, num_classes=num_classes),
    ),
    train_cfg=dict(rpn_proposal=dict(nms_pre=500, max_per_img=48)),
    test_cfg=dict(rpn=dict(nms_pre=500, max_per_img=48)),
)

data = dict(data_root={{_base_.sample_data.data_root}}, metainfo={{_base_.sample_data.metainfo}})
train_dataloader = dict(batch_size=4, num_workers=1, dataset=dict(**data, pipeline={{_base_.official_192.train}}))
val_dataloader = dict(num_workers=1, dataset=dict(**data, pipeline={{_base_.official_192.test}}))
test_dataloader = val_dataloader
val_evaluator = {{_base_.sample_evaluator}}
test_evaluator = {{_base_.sample_evaluator}}

train_cfg = {{_base_.sample_400.by_step}}
param_scheduler = [
    dict(type="WarmupCosineLR", warmup_steps=50, decay_steps={{_base_.sample_400.steps}}, floor=0.03, by_epoch=False)
]
optim_wrapper = dict(optimizer=dict(lr=1e-3))
auto_scale_lr = {{_base_.sample_auto_scale_lr}}
default_hooks = {{_base_.sample_hooks}}
randomness = dict(seed=0)
