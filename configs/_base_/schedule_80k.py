# 80,000 iterations, polynomial decay to zero from the first one on: whai362/PVT segmentation/configs/sem_fpn/PVT.
# (mmsegmentation's schedule_80k.py decays to 1e-4, which for AdamW at 1e-4 is no decay at all.)
train_cfg = dict(type="IterBasedTrainLoop", max_iters=80000, val_interval=8000)
val_cfg = dict(type="ValLoop")
test_cfg = dict(type="TestLoop")
param_scheduler = [dict(type="PolyLR", power=0.9, eta_min=0.0, by_epoch=False, begin=0, end=80000)]
