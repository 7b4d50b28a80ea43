# MaxViT-mini (ours, not the paper's) on the class folders of the sample data set that the project draws.
#
# Recipe:   that of pretrain_maxvit_t_imagenet.py, shortened: small images, light augmentation, no moving average.
# Command:  python tools/make_sample_data.py data/sample && \
#               python tools/train.py configs/demo_pretrain_maxvit_mini_sample.py --data-root data/sample/imagenet
# Machine:  2 CPU cores.
# Result:   not yet run.
_base_ = "./pretrain_maxvit_mini_cifar10.py"

train_dataloader = dict(dataset=dict(data_root="data/sample/imagenet/", transform=dict(auto_augment=None)))
val_dataloader = dict(dataset=dict(data_root="data/sample/imagenet/"))
test_dataloader = val_dataloader
train_cfg = dict(max_epochs=8)
