# Mask2Former with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of mask2former_maxvit_t_coco.py from random weights, with small images and
#           thin heads.
# Command:  python tools/make_sample_data.py data/sample && \
#               python tools/train.py configs/demo_mask2former_maxvit_mini_sample.py --data-root data/sample/coco
# GPUs:     none: 2 CPU cores, batch 4.
# Result:   box AP50 0.095, mask AP50 0.131 on unseen images, loss 39.3 to 16.6, in 6.6 minutes on one busy core.
_base_ = ["./mask2former_maxvit_t_coco.py", "./_base_/sample_coco.py"]

width = {{_base_.sample_width}}
num_classes = {{_base_.sample_num_classes}}

attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=256)
model = dict(
    data_preprocessor=dict(batch_augments=None),  # else a square of 1024 pixels
    backbone={{_base_.maxvit_mini}},
    panoptic_head=dict(
        in_channels={{_base_.maxvit_mini_channels}},
        feat_channels=width,
        out_channels=width,
        num_queries=30,
        num_things_classes=num_classes,
        pixel_decoder=dict(
            encoder=dict(num_layers=1, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            positional_encoding=dict(num_feats=32),
        ),
        positional_encoding=dict(num_feats=32),
        transformer_decoder=dict(
            num_layers=3, layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn)
        ),
        loss_cls=dict(class_weight=[1.0] * 6 + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=num_classes),
    train_cfg=dict(num_points=512),
    test_cfg=dict(max_per_image=30),
)

train_dataloader = {{_base_.sample_train_dataloader}}
val_dataloader = {{_base_.sample_val_dataloader}}
test_dataloader = {{_base_.sample_val_dataloader}}
val_evaluator = {{_base_.sample_evaluator}}
test_evaluator = {{_base_.sample_evaluator}}

train_cfg = dict(
    max_iters={{_base_.sample_600.steps}}, val_interval={{_base_.sample_600.steps}}, dynamic_intervals=None
)
param_scheduler = {{_base_.sample_600.param_scheduler}}
optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(backbone_lr_mult=1.0))
auto_scale_lr = {{_base_.sample_auto_scale_lr}}
default_hooks = {{_base_.sample_hooks}}
randomness = dict(seed=0)
