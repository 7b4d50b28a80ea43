# CoAtNet-pico on CIFAR-10: a peer of MaxViT-mini, random weights.
#
# Recipe:   as pretrain_maxvit_mini_cifar10.py, order of the images too.
# Command:  python tools/train.py configs/pretrain_coatnet_pico_cifar10.py --data-root data/cifar10
# Machine:  2 CPU cores.
# Result:   58.7% top-1 after 5 epochs (ours, mean of three seeds; MaxViT-mini in equal time 65.2), see
#           docs/results.md.
_base_ = "./pretrain_maxvit_mini_cifar10.py"

model = dict(network=dict(_delete_=True, model_name="coatnet_pico_rw", num_classes=10))
