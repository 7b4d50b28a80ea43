# 300 epochs, AdamW, 4096 images a step: paper, table 12. Batches are accumulated to total_batch_size on any number of
# GPUs that divides it; another total_batch_size wants --auto-scale-lr.
_base_ = "./adamw.py"

total_batch_size = 4096
optim_wrapper = dict(optimizer=dict(lr=3e-3), clip_grad=dict(max_norm=1.0))
auto_scale_lr = dict(base_batch_size=4096)

train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=300, val_interval=1)
param_scheduler = [
    # 10,000 steps
    dict(type="LinearLR", start_factor=1e-6, begin=0, end=32, by_epoch=True, convert_to_iter_based=True),
    # to 1e-5
    dict(
        type="CosineAnnealingLR",
        eta_min_ratio=1e-5 / 3e-3,
        begin=32,
        end=300,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
