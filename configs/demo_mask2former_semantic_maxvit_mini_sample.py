# Mask2Former (semantic) with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of mask2former_maxvit_t_ade20k.py, from random weights: small images, thin heads, a short schedule.
# Command:  python tools/make_sample_data.py data/sample
#           python tools/train.py configs/demo_mask2former_semantic_maxvit_mini_sample.py
# Machine:  2 CPU cores, batch 4.
# Result:   mIoU 21.3 on unseen images, loss 45.7 to 19.7, in 12 minutes on one busy core.
_base_ = ["./mask2former_maxvit_t_ade20k.py", "./_base_/sample_ade20k.py"]

width = 64  # channels of the heads; 256 in the real config
num_classes = {{_base_.sample_num_classes}}

attention = dict(embed_dims=width)
ffn = dict(embed_dims=width, feedforward_channels=256)
position = dict(num_feats=width // 2)
model = dict(
    data_preprocessor={{_base_.sample_preprocessor}},
    backbone={{_base_.maxvit_mini}},
    decode_head=dict(
        in_channels={{_base_.maxvit_mini_channels}},
        feat_channels=width,
        out_channels=width,
        num_classes=num_classes,
        num_queries=20,
        pixel_decoder=dict(
            encoder=dict(num_layers=2, layer_cfg=dict(self_attn_cfg=attention, ffn_cfg=ffn)),
            positional_encoding=position,
        ),
        positional_encoding=position,
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(self_attn_cfg=attention, cross_attn_cfg=attention, ffn_cfg=ffn),
        ),
        loss_cls=dict(class_weight=[1.0] * 10 + [0.1]),
        train_cfg=dict(num_points=1024),
    ),
    test_cfg={{_base_.sample_test_cfg}},
)

train_dataloader = {{_base_.sample_train_dataloader}}
val_dataloader = {{_base_.sample_val_dataloader}}
test_dataloader = {{_base_.sample_val_dataloader}}

train_cfg = {{_base_.sample_2000.train_cfg}}
param_scheduler = {{_base_.sample_2000.param_scheduler}}
optim_wrapper = dict(optimizer=dict(lr=1e-3), paramwise_cfg=dict(backbone_lr_mult=1.0))  # no start weights to keep
auto_scale_lr = dict(base_batch_size=4)
default_hooks = {{_base_.sample_2000.default_hooks}}
randomness = dict(seed=0)
