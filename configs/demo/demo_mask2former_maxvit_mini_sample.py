# Mask2Former with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of mask2former_maxvit_t_coco.py from random weights, with small images and thin heads.
# Command:  python tools/train.py configs/demo/demo_mask2former_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores, batch 4.
# Result:   box AP50 0.095, mask AP50 0.131 on unseen images, loss 39.3 to 16.6, in 6.6 minutes on one busy core.
_base_ = ["../mask2former_maxvit_t_coco.py", "../_base_/sample_coco.py"]

model = dict(
    data_preprocessor=dict(batch_augments=None),  # else a square of 1024 pixels
    backbone=dict(arch="mini", drop_path_rate=0.0, init_cfg=None),
    panoptic_head=dict(
        in_channels=[32, 64, 128, 256],
        feat_channels=64,
        out_channels=64,
        num_queries=30,
        num_things_classes=6,
        pixel_decoder=dict(
            encoder=dict(
                num_layers=1,
                layer_cfg=dict(
                    self_attn_cfg=dict(embed_dims=64),
                    ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
                ),
            ),
            positional_encoding=dict(num_feats=32),
        ),
        positional_encoding=dict(num_feats=32),
        transformer_decoder=dict(
            num_layers=3,
            layer_cfg=dict(
                self_attn_cfg=dict(embed_dims=64),
                cross_attn_cfg=dict(embed_dims=64),
                ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
            ),
        ),
        loss_cls=dict(class_weight=[1.0] * 6 + [0.1]),
    ),
    panoptic_fusion_head=dict(num_things_classes=6),
    train_cfg=dict(num_points=512),
    test_cfg=dict(max_per_image=30),
)

train_dataloader = _base_.pop("sample_train_dataloader")
train_pipeline = train_dataloader.dataset.pipeline
val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
test_pipeline = val_dataloader.dataset.pipeline
val_evaluator = test_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(backbone_lr_mult=1.0))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_iters=600, val_interval=600, dynamic_intervals=None)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=600, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
