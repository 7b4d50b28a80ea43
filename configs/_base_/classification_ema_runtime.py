# As classification_runtime.py, with the official code's moving average of the weights: decay 0.9999, at the start
# (1 + steps) / (10 + steps), BatchNorm's statistics included (TensorFlow's dynamic decay). Checkpoints hold the
# averaged weights as state_dict and the others beside them; evaluation uses the averaged ones.
_base_ = "./classification_runtime.py"

default_hooks = dict(
    ema=dict(type="StepEMAHook", ema_type="MomentumAnnealingEMA", momentum=1e-4, gamma=9, update_buffers=True)
)
