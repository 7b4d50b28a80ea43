"""Epochs of whole optimizer steps that can be entered in the middle."""

from collections.abc import Iterator, Sized

from mmengine.dataset import DefaultSampler
from mmengine.registry import DATA_SAMPLERS


@DATA_SAMPLERS.register_module()
class EpochSampler(DefaultSampler):
    """mmengine's shuffling by (seed, epoch), with the tail left out that fills no optimizer step.

    The images left out are others in each epoch. ``skip`` is the word that mmengine's InfiniteSampler has for it.

    Args:
        dataset: to draw from.
        step: images of one process in an optimizer step: batch size times accumulated batches.
        shuffle, seed: as of ``DefaultSampler``.

    Raises:
        ValueError: the data set fills no step.
    """

    def __init__(self, dataset: Sized, step: int = 1, shuffle: bool = True, seed: int | None = None):
        super().__init__(dataset, shuffle=shuffle, seed=seed, round_up=False)
        self.num_samples = len(dataset) // self.world_size // step * step
        if self.num_samples == 0:
            raise ValueError(f"{len(dataset)} images fill no step of {step} in each of {self.world_size} processes")
        self._start = 0

    def __iter__(self) -> Iterator[int]:
        start, self._start = self._start, 0
        return iter(list(super().__iter__())[start : self.num_samples])

    def skip(self, num_samples: int) -> None:
        """Begin the next epoch ``num_samples`` images in."""
        self._start = num_samples
