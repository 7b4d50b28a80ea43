"""Every random draw of a training tied to where it is, so that an interrupted run goes on as it would have.

A classifier's ``ClassFolders`` tie their own; data sets of other packages are wrapped.
"""

import copy
import random
from typing import Any

import numpy as np
import torch
from mmengine.config import Config, ConfigDict
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from torch.utils.data import Dataset

COUNTED: list[tuple[ConfigDict, Any]] = []  # of ``training_set``


def seed_all(*entropy: int) -> None:
    """Seed the three generators that transforms of images draw from, on the CPU."""
    state = np.random.SeedSequence(entropy).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(state[1])
    torch.default_generator.manual_seed(int(state[2]))


class RepeatableImages(Dataset):
    """A data set whose every image is augmented by draws that follow from (seed, epoch, index) alone.

    Neither the number of workers or processes nor an interruption changes them. For the rest it is the data set inside.
    """

    def __init__(self, dataset: Any):
        self.dataset = dataset
        self.draw = torch.zeros(2, dtype=torch.int64).share_memory_()  # seed and epoch; workers outlive an epoch

    def set_draw(self, seed: int, epoch: int) -> None:
        self.draw[0], self.draw[1] = seed, epoch

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        seed_all(*self.draw.tolist(), index)
        return self.dataset[index]

    def __getattr__(self, name: str) -> Any:
        if name == "dataset":  # while it is unpickled
            raise AttributeError(name)
        return getattr(self.dataset, name)

    def __deepcopy__(self, memo: dict) -> "RepeatableImages":
        return self  # mmengine copies a loader's config, and a data set in it would be copied whole


@HOOKS.register_module()
class RepeatableDrawsHook(Hook):
    """Seeds the draws of the model by (seed, process, iteration), those of the images by (seed, epoch, index)."""

    priority = "VERY_HIGH"

    def before_train_epoch(self, runner) -> None:
        dataset = runner.train_dataloader.dataset
        if hasattr(dataset, "set_draw"):
            dataset.set_draw(runner.seed, runner.epoch)

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        seed_all(runner.seed, get_rank(), runner.iter)
        if torch.cuda.is_available():
            torch.cuda.manual_seed(torch.default_generator.initial_seed())


def repeat_draws(cfg: Config) -> None:
    """Give a training the hook, unless its own does the same."""
    hooks = list((cfg.get("default_hooks") or {}).values()) + list(cfg.get("custom_hooks") or [])
    kinds = {hook.get("type") for hook in hooks if isinstance(hook, dict)}
    if not kinds & {"ImageStreamHook", "RepeatableDrawsHook"}:
        cfg.custom_hooks = [*(cfg.get("custom_hooks") or []), ConfigDict(type="RepeatableDrawsHook")]


def training_set(entry: ConfigDict, counted: bool = False) -> Any:
    """Build a data set, or take the one that was built to be counted: COCO's takes half a minute.

    Args:
        entry: of a config.
        counted: keep it for the next who asks for the same.
    """
    kept = [dataset for own, dataset in COUNTED if own == entry]
    COUNTED.clear()
    dataset = kept[0] if kept else DATASETS.build(entry)
    if hasattr(dataset, "full_init"):
        dataset.full_init()
    COUNTED.extend([(copy.deepcopy(entry), dataset)] if counted else [])
    return dataset


def repeatable_dataset(cfg: Config) -> RepeatableImages | None:
    """The training set with repeatable draws, of a run that ``repeat_draws`` prepared and that counts epochs.

    A run that counts iterations goes through its images without an end, so that an index tells no epoch.
    """
    kinds = {hook.get("type") for hook in cfg.get("custom_hooks") or []}
    by_epoch = cfg.train_cfg.get("by_epoch") or "Epoch" in str(cfg.train_cfg.get("type"))
    entry = cfg.train_dataloader.dataset
    if "RepeatableDrawsHook" not in kinds or not by_epoch or not isinstance(entry, dict):
        return None
    return RepeatableImages(training_set(entry))
