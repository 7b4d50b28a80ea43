"""A training on crops that ends on larger ones, such as whole images."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

from mmengine.dataset import InfiniteSampler
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop

from ...errors import InputError


@HOOKS.register_module()
class CropSizeHook(Hook):
    """Crops of another size from an iteration on, in a segmentor's training.

    Grid attention spreads its positions over the whole map, so crops teach it their spacing and no other. A last part
    on crops as large as the images of evaluation teaches it that one (docs/results.md, CamVid). FC-DenseNet's training
    ends so too (arXiv 1611.09326, section 4).

    Args:
        begin: iteration from which on the crops are of the other size, counted from 0.
        crop_size: height and width in pixels, of every ``RandomCrop`` and of the batch.
    """

    def __init__(self, begin: int, crop_size: tuple[int, int]):
        self.begin, self.crop_size = begin, tuple(crop_size)

    def before_train(self, runner) -> None:
        """Begin so, where a run is resumed behind ``begin``.

        Raises:
            InputError: the run counts epochs, or its images are not cropped.
        """
        if not isinstance(runner.train_loop, IterBasedTrainLoop):
            raise InputError(
                "CropSizeHook is for a train_cfg that counts iterations (max_iters), and this one counts epochs. Leave "
                "it out of custom_hooks, or take mmdet's PipelineSwitchHook."
            )
        if not any(_crops(runner.train_dataloader.dataset)):
            raise InputError(
                "CropSizeHook found no RandomCrop in train_dataloader.dataset.pipeline. Leave it out of custom_hooks, "
                "or crop the images."
            )
        if runner.iter >= self.begin:
            self._change(runner, done=0)  # the loop then leaves out what was done

    def after_train_iter(self, runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        if runner.iter + 1 == self.begin:
            self._change(runner, done=self.begin)

    def _change(self, runner, done: int) -> None:
        """Change the size; the images behind ``done`` batches are prepared anew."""
        runner.logger.info(f"From here on, training images are crops of {self.crop_size} pixels.")
        for crop in _crops(runner.train_dataloader.dataset):
            crop.crop_size = self.crop_size
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        model.data_preprocessor.size = self.crop_size
        loop, loader = runner.train_loop, runner.train_dataloader
        loader._iterator = None  # else persistent workers go on with their copy of the data set
        if isinstance(loader.sampler, InfiniteSampler):  # which ran ahead for the workers, and ends with their iterator
            loader.sampler.indices = islice(loader.sampler._indices_of_rank(), done * loader.batch_size, None)
        loop.dataloader_iterator = type(loop.dataloader_iterator)(loader)


def _crops(dataset: Any) -> Iterator[Any]:
    """Every ``RandomCrop`` of a data set and of those that it wraps."""
    for inner in getattr(dataset, "datasets", ()):
        yield from _crops(inner)
    if hasattr(dataset, "dataset"):
        yield from _crops(dataset.dataset)
    transforms = getattr(getattr(dataset, "pipeline", None), "transforms", ())
    yield from (step for step in transforms if type(step).__name__ == "RandomCrop")
