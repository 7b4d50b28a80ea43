# ConvNeXt-atto on CIFAR-10: a peer of MaxViT-mini, random weights.
#
# Recipe:   as pretrain_maxvit_mini_cifar10.py, order of the images too.
# Command:  python tools/train.py configs/pretrain_convnext_atto_cifar10.py --data-root data/cifar10
# Machine:  2 CPU cores.
# Result:   52.7% top-1 after 15 epochs (ours, mean of two seeds; MaxViT-mini in equal time 65.2), see
#           docs/results.md.
_base_ = "./pretrain_maxvit_mini_cifar10.py"

model = dict(network=dict(_delete_=True, model_name="convnext_atto", num_classes=10))
