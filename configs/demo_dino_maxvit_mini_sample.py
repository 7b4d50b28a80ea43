# DINO with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of dino_maxvit_t_coco.py from random weights, with small images and
#           thin heads.
# Command:  python tools/make_sample_data.py data/sample && \
#               python tools/train.py configs/demo_dino_maxvit_mini_sample.py --data-root data/sample/coco
# GPUs:     none: 2 CPU cores, batch 4.
# Result:   box AP50 0.172 on unseen images, loss 21.4 to 9.7, in 8.8 minutes on one busy core.
_base_ = ["./dino_maxvit_t_coco.py", "./_base_/sample_coco.py"]

width = {{_base_.sample_width}}
num_classes = {{_base_.sample_num_classes}}

attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=256)
model = dict(
    num_queries=60,
    backbone={{_base_.maxvit_mini_from8}},
    neck=dict(in_channels={{_base_.maxvit_mini_from8_channels}}, out_channels=width),
    encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
    decoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)),
    positional_encoding=dict(num_feats=32),
    bbox_head=dict(embed_dims=width, num_classes=num_classes),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=40)),
    test_cfg=dict(max_per_img=60),
)

train_dataloader = {{_base_.sample_train_dataloader}}
val_dataloader = {{_base_.sample_val_dataloader}}
test_dataloader = {{_base_.sample_val_dataloader}}
val_evaluator = {{_base_.sample_evaluator}}
test_evaluator = {{_base_.sample_evaluator}}

train_cfg = {{_base_.sample_600.by_epoch}}
param_scheduler = {{_base_.sample_600.param_scheduler}}
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(backbone_lr_mult=1.0))
auto_scale_lr = {{_base_.sample_auto_scale_lr}}
default_hooks = {{_base_.sample_hooks}}
randomness = dict(seed=0)
