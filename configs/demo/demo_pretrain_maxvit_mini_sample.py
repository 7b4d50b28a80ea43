# MaxViT-mini (ours, not the paper's) on the class folders of the sample data set that the project draws.
#
# Recipe:   that of pretrain_maxvit_t_imagenet.py, shortened: small images, light augmentation, no moving average.
# Command:  python tools/train.py configs/demo/demo_pretrain_maxvit_mini_sample.py
# Data:     drawn in data/sample/ if it is not there.
# Machine:  2 CPU cores.
# Result:   46.3% top-1 of six classes.
_base_ = "../pretrain_maxvit_mini_cifar10.py"

model = dict(network=dict(num_classes=6))
train_dataloader = dict(dataset=dict(data_root="data/sample/imagenet/", transform=dict(auto_augment=None)))
val_dataloader = dict(dataset=dict(data_root="data/sample/imagenet/"))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=20)  # of 1,200 images
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, begin=0, end=1, by_epoch=True, convert_to_iter_based=True),
    dict(type="CosineAnnealingLR", begin=1, end=20, by_epoch=True, convert_to_iter_based=True),
]
