# DINO with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of dino_maxvit_t_coco.py from random weights, with small images and thin heads.
# Command:  python tools/train.py configs/demo/demo_dino_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores, batch 4.
# Result:   box AP50 0.172 on unseen images, loss 21.4 to 9.7, in 8.8 minutes on one busy core.
_base_ = ["../dino_maxvit_t_coco.py", "../_base_/sample_coco.py"]

model = dict(
    num_queries=60,
    backbone=dict(arch="mini", drop_path_rate=0.0, init_cfg=None),
    neck=dict(in_channels=[64, 128, 256], out_channels=64),
    encoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
        ),
    ),
    decoder=dict(
        num_layers=2,
        layer_cfg=dict(
            self_attn_cfg=dict(embed_dims=64),
            cross_attn_cfg=dict(embed_dims=64),
            ffn_cfg=dict(embed_dims=64, feedforward_channels=256),
        ),
    ),
    positional_encoding=dict(num_feats=32),
    bbox_head=dict(embed_dims=64, num_classes=6),
    dn_cfg=dict(group_cfg=dict(num_dn_queries=40)),
    test_cfg=dict(max_per_img=60),
)

train_dataloader = _base_.pop("sample_train_dataloader")
train_pipeline = train_dataloader.dataset.pipeline
val_dataloader = test_dataloader = _base_.pop("sample_val_dataloader")
test_pipeline = val_dataloader.dataset.pipeline
val_evaluator = test_evaluator = dict(ann_file="data/sample/coco/annotations/instances_val2017.json")

optim_wrapper = dict(optimizer=dict(lr=5e-4), paramwise_cfg=dict(backbone_lr_mult=1.0))
auto_scale_lr = dict(base_batch_size=4)
train_cfg = dict(max_epochs=6, val_interval=6)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", begin=0, end=600, by_epoch=False),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(max_keep_ckpts=1))
randomness = dict(seed=0)
