# ResNet-18 on CIFAR-10: a peer of MaxViT-mini, random weights.
#
# Recipe:   as pretrain_maxvit_mini_cifar10.py, order of the images too.
# Command:  python tools/train.py configs/pretrain_resnet18_cifar10.py --data-root data/cifar10
# Machine:  2 CPU cores.
# Result:   62.2% top-1 after 8 epochs (ours, mean of three seeds; MaxViT-mini in equal time 65.2), see
#           docs/results.md.
_base_ = "./pretrain_maxvit_mini_cifar10.py"

model = dict(network=dict(_delete_=True, model_name="resnet18", num_classes=10))
