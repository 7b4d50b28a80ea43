# MaxViT-B, pretrained on ImageNet-1k at 224, fine-tuned at 384.
#
# Recipe:   as finetune_maxvit_t_384_imagenet.py, with the stochastic depth of table 12 for this size.
# Command:  torchrun --nproc_per_node=8 tools/train.py configs/finetune_maxvit_b_384_imagenet.py --launcher pytorch \
#               --amp --data-root imagenet/
# GPUs:     as finetune_maxvit_t_384_imagenet.py.
# Result:   not yet run. The paper's, on TPUs: top-1 86.34.
_base_ = "./finetune_maxvit_t_384_imagenet.py"

model = dict(
    network=dict(model_name="maxvit_b", drop_path_rate=0.4),
    init_cfg=dict(checkpoint="maxvit_b.in1k"),
)
