# MaxViT-T, pretrained on ImageNet-1k at 224, fine-tuned at 512.
#
# Recipe:   as finetune_maxvit_t_384_imagenet.py, with window 16.
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/finetune_maxvit_t_512_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
# GPUs:     any number that divides 512 / 16; a smaller train_dataloader.batch_size where memory is short.
# Result:   not yet run. The paper's, on TPUs: top-1 85.72.
_base_ = "./finetune_maxvit_t_384_imagenet.py"

model = dict(network=dict(window_size=16))
train_dataloader = dict(dataset=dict(transform=dict(input_size=512)))
val_dataloader = dict(dataset=dict(transform=dict(input_size=512)))
test_dataloader = val_dataloader
