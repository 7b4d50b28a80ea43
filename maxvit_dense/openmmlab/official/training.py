"""Learning-rate schedule and data transform of the official recipe."""

import math
from typing import Any

from mmcv.transforms import BaseTransform
from mmengine.optim.scheduler.lr_scheduler import LRSchedulerMixin
from mmengine.optim.scheduler.param_scheduler import _ParamScheduler
from mmengine.registry import PARAM_SCHEDULERS, TRANSFORMS

_INSTANCE_KEYS = ("gt_bboxes", "gt_bboxes_labels", "gt_masks", "gt_ignore_flags")


@PARAM_SCHEDULERS.register_module()
class WarmupCosineLR(LRSchedulerMixin, _ParamScheduler):
    """Cosine from the first step on, its first steps replaced by a line from 0 that ends on it.

    mmengine's schedulers multiply into each other, so that a warm-up from 0 stays at 0 and one under a cosine with a
    floor distorts it; this one is in closed form (Keras CosineDecay under LinearWarmup of tensorflow/models
    official/modeling/optimization/lr_schedule.py). Steps are iterations.

    Args:
        decay_steps: length of the cosine, warm-up included; the floor holds afterwards.
        warmup_steps: length of the line.
        floor: learning rate at the end, as a share of the optimizer's.
    """

    def __init__(self, optimizer, *, decay_steps: int, warmup_steps: int, floor: float, by_epoch=False, **kwargs):
        if by_epoch or not 0 <= warmup_steps < decay_steps or not 0.0 <= floor <= 1.0:
            raise ValueError(
                f"WarmupCosineLR counts iterations (by_epoch={by_epoch!r}), warms up for fewer of them than it decays "
                f"(warmup_steps={warmup_steps!r}, decay_steps={decay_steps!r}) and ends on a share of 0 to 1 "
                f"(floor={floor!r})"
            )
        self.decay_steps = decay_steps
        self.warmup_steps = warmup_steps
        self.floor = floor
        super().__init__(optimizer, by_epoch=False, **kwargs)

    def _share(self, step: int) -> float:
        if step < self.warmup_steps:
            return step / self.warmup_steps * self._share(self.warmup_steps)
        cosine = (1 + math.cos(math.pi * min(step, self.decay_steps) / self.decay_steps)) / 2
        return self.floor + (1 - self.floor) * cosine

    def _get_value(self) -> list[float]:
        return [value * self._share(self.last_step) for value in self.base_values]


@TRANSFORMS.register_module()
class LimitInstances(BaseTransform):
    """Drop crowds, and of the other instances all but the first ones (the official parser's max_num_instances).

    Stands behind the crop: instances outside it do not count.

    Args:
        max_instances: how many to keep.
    """

    def __init__(self, max_instances: int = 100):
        if max_instances < 1:
            raise ValueError(f"max_instances={max_instances!r}: give a number of 1 or more")
        self.max_instances = max_instances

    def transform(self, results: dict[str, Any]) -> dict[str, Any]:
        """Shortens the boxes, labels, masks and flags of ``results``, in step."""
        kept = (~results["gt_ignore_flags"]).nonzero()[0][: self.max_instances]
        return {**results, **{key: results[key][kept] for key in _INSTANCE_KEYS if key in results}}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_instances={self.max_instances})"
