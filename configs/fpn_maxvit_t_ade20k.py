# Semantic FPN with MaxViT-T on ADE20K, 80k iterations, 512x512 crops.
#
# Recipe:   mmsegmentation configs/twins/twins_pcpvt-s_fpn_fpnhead_8xb4-80k_ade20k-512x512.py, with PVT's decay to zero;
#           the drop path rate of MaxViT-T's ImageNet training.
# Command:  python tools/train.py configs/fpn_maxvit_t_ade20k.py --data-root data/ade/ADEChallengeData2016
#           Evaluation: tools/test.py on whole images; in sliding windows with --cfg-options model.test_cfg.mode=slide;
#           at six scales (0.5-1.75), flipped too, with --tta.
# GPUs:     8 x 4 images; elsewhere add --auto-scale-lr.
# Result:   not yet run. For orientation, Twins-PCPVT-S there: mIoU 43.26, multi-scale and flipped 44.11.
_base_ = [
    "./_base_/semantic_fpn.py",
    "./_base_/ade20k.py",
    "./_base_/mmseg_runtime.py",
    "./_base_/adamw.py",
    "./_base_/schedule_80k.py",
]

train_dataloader = dict(batch_size=4)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
auto_scale_lr = dict(base_batch_size=32)
