"""Fits a classifier's config to its data, its weights and the processes at hand, before a Runner sees it."""

import logging
import os
from collections.abc import Iterable, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from timm.data import create_transform, resolve_data_config

from ....errors import InputError, listed
from ....variants import default_cfgs
from ....weights.safe_load import read_checkpoint
from ...config.launchers import world_size
from ..checking.checks import header_faults
from ..class_dataset import check_unreadable
from ..data_set import PHASES, data_sets
from ..faults import refuse
from ..layouts.class_folders import AS_TIMM_READS, compare_classes, find_split, open_reader, read_classes

_logger = logging.getLogger(__name__)


def prepare_classification(
    cfg: Config,
    phases: Iterable[str],
    overrides: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Any] | None = None,
) -> None:
    """Settle what a classifier's config leaves to the data and the machine. Does nothing to other configs.

    - The classes are those of the class folders, and the network gets as many outputs. It starts with the classifier of
      ``init_cfg`` only if that is of the same classes.
    - Size, crop and normalisation are a tag's where ``model.network.model_name`` has one ("maxvit_t.in1k_384").
    - ``total_batch_size`` images an optimizer step, by as many accumulated batches as the processes need.
    - ``auto_scale_lr`` counts accumulated batches too.

    What the command line gives stands.

    Args:
        cfg: whose data sets lie where they will be read from.
        phases: of "train", "val", "test".
        overrides: config entries of the command line, by dotted name.
        checkpoint: what will be evaluated or resumed; its classes, if it tells them, are those of the labels.

    Raises:
        InputError: data, weights or batch sizes that do not go together.
    """
    if cfg.model.get("type") != "ImageClassifier":
        return
    overrides, phases = dict(overrides or {}), tuple(phases)
    _adopt_class_folders(cfg, phases, overrides, checkpoint)
    _adopt_tag(cfg, overrides)
    _fit_targets(cfg)
    _check_transforms(cfg, phases)
    if "train" in phases:
        _adopt_head(cfg, cfg.train_dataloader.dataset.metainfo.classes)
        _accumulate(cfg)
        _check_epoch(cfg)
    holder = cfg.get("strategy") or cfg  # a FlexibleRunner's strategy converts the model
    if holder.get("sync_bn") and get_device() == "cpu":
        _logger.info("sync_bn: PyTorch synchronises BatchNorm between GPUs only; each process keeps its own here.")
        holder.sync_bn = None
    if holder.get("sync_bn") and cfg.model.network.model_name.partition(".")[0] not in default_cfgs:
        # The conversion would drop the activation that timm fuses into its own networks' BatchNorm.
        _logger.warning("sync_bn works with this package's networks only: each process keeps its own statistics.")
        holder.sync_bn = None


def _adopt_class_folders(cfg: Config, phases: tuple[str, ...], overrides: dict, checkpoint: Any) -> None:
    found = {}
    for data in data_sets(cfg, phases):
        check_unreadable(data.entry.get("unreadable", "refuse"))
        if not os.path.isdir(data.root):
            raise InputError(f"There is no data root {data.root}. Give the folder with --data-root DIR.")
        split = find_split(data.root, data.entry.split)
        if data.phase not in found:
            by_class = read_classes(split)
            found[data.phase] = (split.path, tuple(by_class))
            faults = header_faults({path: None for images in by_class.values() for path in images})
            passed = {"broken image", *AS_TIMM_READS}  # the first are told, or left out, by ImageStreamHook
            refuse((fault for fault in faults if fault.kind not in passed), split.path)
    if "train" in found and "val" in found:
        compare_classes(found["train"][1], found["val"][1], found["train"][0], found["val"][0])
    path, names = next(iter(found.values()))
    trained = classes_of(checkpoint or {})
    if trained:
        unknown = [name for name in names if name not in trained]
        if unknown:
            raise InputError(
                f"{path} has {len(unknown)} classes that the checkpoint was not trained on "
                f"({listed(unknown)}). Give the data of its classes, or a checkpoint of these."
            )
        names = trained
    for data in data_sets(cfg, PHASES):
        data.entry["metainfo"] = dict(classes=names)
    if "model.network.num_classes" not in overrides:
        cfg.model.network.num_classes = len(names)
    _logger.info("%d classes in %s: %s", len(names), path, listed(names))
    if cfg.model.network.num_classes != len(names):
        raise InputError(
            f"model.network.num_classes is {cfg.model.network.num_classes}, but {path} has {len(names)} classes. "
            "Leave it out."
        )


def classes_of(checkpoint: Mapping[str, Any]) -> tuple[str, ...]:
    """Classes that a checkpoint was trained on; none if it does not tell."""
    meta = checkpoint.get("meta")
    told = meta.get("dataset_meta") if isinstance(meta, Mapping) else None
    classes = told.get("classes") if isinstance(told, Mapping) else None
    return tuple(classes) if isinstance(classes, list | tuple) else ()


def _adopt_head(cfg: Config, names: tuple[str, ...]) -> None:
    """Leave out a start checkpoint's classifier of other classes, even if there are as many of them."""
    start = cfg.model.get("init_cfg") or {}
    source = start.get("checkpoint", "")
    if not start.get("head", True) or not os.path.isfile(source):
        return
    trained = classes_of(read_checkpoint(source))
    if trained and trained != names:
        _logger.info("%s was trained on other classes (%s): its classifier is left out", source, listed(trained))
        start["head"] = False


def _adopt_tag(cfg: Config, overrides: dict) -> None:
    """Evaluate at the size, crop and normalisation of a tag, unless the command line gives others."""
    variant, _, tag = cfg.model.network.model_name.partition(".")
    if not tag or variant not in default_cfgs:
        return
    if tag not in default_cfgs[variant].cfgs:
        raise InputError(f"There are no weights {variant}.{tag}; there are {', '.join(default_cfgs[variant].cfgs)}.")
    wanted = resolve_data_config(pretrained_cfg=default_cfgs[variant].cfgs[tag].to_dict())
    normal = {key: wanted.pop(key) for key in ("mean", "std")}
    for data in data_sets(cfg, ("val", "test")):
        given = f"{data.phase}_dataloader.dataset.transform."
        kept = {key.removeprefix(given) for key in overrides if key.startswith(given)}
        data.entry.transform.update({key: value for key, value in wanted.items() if key not in kept})
        _logger.info("%s images as %s.%s asks: %s", data.phase, variant, tag, dict(data.entry.transform))
    for key, value in normal.items():
        if f"model.data_preprocessor.{key}" not in overrides:
            cfg.model.data_preprocessor[key] = value


def _fit_targets(cfg: Config) -> None:
    """One number of classes, one smoothing, one mean: each is asked for in two places."""
    cfg.model.data_preprocessor.num_classes = cfg.model.network.num_classes
    cfg.model.data_preprocessor.label_smoothing = cfg.model.get("label_smoothing", 0.1)
    for data in data_sets(cfg, PHASES):
        data.entry.transform.update(mean=cfg.model.data_preprocessor.mean, std=cfg.model.data_preprocessor.std)


def _check_transforms(cfg: Config, phases: tuple[str, ...]) -> None:
    """Build each transform as its data set will."""
    for data in data_sets(cfg, phases):
        try:
            create_transform(**data.entry.transform, is_training=data.entry.get("training", False), normalize=False)
        except (AssertionError, KeyError, TypeError, ValueError, RuntimeError) as error:  # timm's, by argument
            raise InputError(
                f"{data.phase}_dataloader.dataset.transform cannot be built: {type(error).__name__}: {error}. It takes "
                f"the arguments of timm.data.create_transform; it is {dict(data.entry.transform)}."
            ) from error


def _accumulate(cfg: Config) -> None:
    """Reach ``total_batch_size`` images a step, and count them in the learning rate's scaling."""
    at_once = cfg.train_dataloader.batch_size * world_size(cfg.launcher)
    total = cfg.get("total_batch_size")
    if total:
        if total % at_once:
            raise InputError(
                f"total_batch_size={total} is not a whole number of batches: {world_size(cfg.launcher)} processes take "
                f"{at_once} images at once. Give --cfg-options train_dataloader.batch_size=N with N times the "
                f"processes dividing {total}, or another total_batch_size together with --auto-scale-lr."
            )
        cfg.optim_wrapper.accumulative_counts = total // at_once
    count = cfg.optim_wrapper.get("accumulative_counts", 1)
    if cfg.model.data_preprocessor.get("mixup") and cfg.train_dataloader.batch_size % 2:
        raise InputError(
            f"train_dataloader.batch_size={cfg.train_dataloader.batch_size} is odd, and images are mixed in pairs. "
            "Give an even number, or --cfg-options model.data_preprocessor.mixup=None."
        )
    cfg.train_dataloader.sampler.step = cfg.train_dataloader.batch_size * count
    if cfg.get("auto_scale_lr"):
        cfg.auto_scale_lr.base_batch_size = cfg.auto_scale_lr.base_batch_size / count  # mmengine counts one batch
    _logger.info("%d images an optimizer step: %d at once, %d times", at_once * count, at_once, count)


def _check_epoch(cfg: Config) -> None:
    dataset = cfg.train_dataloader.dataset
    images = len(open_reader(find_split(dataset.data_root, dataset.split), dataset.metainfo.classes))
    step = cfg.train_dataloader.sampler.step * world_size(cfg.launcher)
    if images < step:
        raise InputError(
            f"{dataset.data_root} has {images} training images, fewer than the {step} of one optimizer step. Give "
            f"--cfg-options total_batch_size=N, {max(images // 8, 1)} or less say, and --auto-scale-lr with it."
        )
    if images % step:
        _logger.info("%d images a step: each epoch leaves out %d of %d, others each time", step, images % step, images)
