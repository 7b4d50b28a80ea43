# 160,000 iterations, warm-up and linear decay to zero: mmsegmentation configs/swin.
_base_ = ["./iterations.py", "./adamw.py"]

train_cfg = dict(max_iters=160000, val_interval=16000)
param_scheduler = [
    dict(type="LinearLR", start_factor=1e-6, by_epoch=False, begin=0, end=1500),
    dict(type="PolyLR", power=1.0, eta_min=0.0, by_epoch=False, begin=1500, end=160000),
]
optim_wrapper = {{_base_.maxvit_optim_wrapper}}
