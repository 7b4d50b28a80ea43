# MaxViT-S on ImageNet-1k from scratch, the paper's recipe.
#
# Recipe:   as pretrain_maxvit_t_imagenet.py, with the stochastic depth of table 12 for this size.
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/pretrain_maxvit_s_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
# GPUs:     as pretrain_maxvit_t_imagenet.py; a smaller train_dataloader.batch_size where memory is short.
# Result:   not yet run. The paper's, on TPUs: top-1 84.45.
_base_ = "./pretrain_maxvit_t_imagenet.py"

model = dict(network=dict(model_name="maxvit_s", drop_path_rate=0.3))
