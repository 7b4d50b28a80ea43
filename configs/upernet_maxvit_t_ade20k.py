# UPerNet with MaxViT-T on ADE20K, 160k iterations, 512x512 crops.
#
# Recipe:   mmsegmentation configs/swin/swin-tiny-patch4-window7-in1k-pre_upernet_8xb2-160k_ade20k-512x512.py; the drop
#           path rate of MaxViT-T's ImageNet training.
# Command:  python tools/train.py configs/upernet_maxvit_t_ade20k.py --data-root data/ade/ADEChallengeData2016
#           Evaluation: tools/test.py on whole images; in sliding windows with --cfg-options model.test_cfg.mode=slide;
#           at six scales (0.5-1.75), flipped too, with --tta.
# GPUs:     8 x 2 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Swin-T on this recipe: mIoU 44.41, multi-scale and flipped 45.79.
_base_ = [
    "./_base_/upernet.py",
    "./_base_/ade20k.py",
    "./_base_/mmseg_runtime.py",
    "./_base_/adamw.py",
    "./_base_/schedule_160k.py",
]

optim_wrapper = dict(optimizer=dict(lr=6e-5, weight_decay=0.01))
