"""A trained detector, segmentor or classifier as a function from images to plain numpy.

mmdet's and mmseg's inferencers are not used: they build the training data set for its colours, unpickle checkpoints,
take COCO's or Cityscapes' classes where a checkpoint tells none, keep every result until the end, and name what they
write by the last part of a path. What they stand on is: the config's test pipeline and the model's ``test_step``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config, ConfigDict
from mmengine.dataset import pseudo_collate
from mmengine.device import get_device
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from PIL import Image
from timm.data import create_transform
from torch import nn

from ...errors import InputError
from ...predict.images import check_array, read_image
from ...weights.safe_load import read_checkpoint
from ...work_dir import last_checkpoint
from .. import exact_batches
from ..config.load import build_model, load_config
from ..config.parts import type_name
from ..data.configure.heads import size_heads
from ..data.data_set import data_sets
from ..weights import check_fit
from .run_facts import FACTS, mask_values
from .tta import augment_test

_TASKS = {"mmdet": "detection", "mmseg": "segmentation"}
_READING = ("LoadImageFromFile", "DropOutsideBoxes", "CheckLoaded")  # and whatever loads annotations
# Heads whose objects are those with a score above a threshold, whatever lies below it.
_ABOVE_THRESHOLD = ("RetinaHead", "ATSSHead", "StandardRoIHead", "CascadeRoIHead")
_NO_MEMORY = "can't allocate memory"  # what PyTorch says on a CPU, in a RuntimeError
_EVALUATION = ("input_size", "crop_pct", "crop_mode", "interpolation")


class Predictor:
    """Called with images, gives for each a dict of numpy arrays.

    Attributes:
        task: "detection", "segmentation" or "classification".
        classes: names in the order of labels, those that the checkpoint was trained on.
        palette: (R, G, B) of each class, or None.
        mask_values: value of each class in the masks of the training data; None but for segmentors.
        model: in evaluation mode, on its device.
        threads: of this machine that it computes with.
        batch: how many images go through it at once.
        cfg: the config that it was built of.
    """

    def __init__(self, cfg: Config, model: nn.Module, record: Mapping[str, Any], batch: int):
        self.model, self.batch, self.cfg = model, batch, cfg
        self.threads = torch.get_num_threads() if next(model.parameters()).device.type == "cpu" else 0
        self.task = _TASKS.get(cfg.get("default_scope"), "classification")
        self.classes = tuple(record["classes"])
        self.palette = record["palette"]
        self.mask_values = record["mask_values"] if self.task == "segmentation" else None
        dataset = data_sets(cfg, ("test",))[0].entry
        if self.task == "classification":
            self._prepare = create_transform(**dataset.transform, is_training=False, normalize=False)
            return
        self._float = any(step.get("to_float32") for step in dataset.pipeline)
        with DefaultScope.overwrite_default_scope(cfg.default_scope):
            self._prepare = Compose(_for_new_images(dataset.pipeline))

    def __call__(self, images: Any) -> list[dict[str, np.ndarray]]:
        """What is found in each image.

        Args:
            images: a list of paths and (H, W, 3) uint8 arrays in the order R, G, B, or one of these. (An array that
                OpenCV read is BGR: give ``array[..., ::-1]``.)

        Returns:
            Of a detector ``boxes`` (N, 4), x1, y1, x2, y2 in pixels of the image, ``scores`` (N,), ``labels`` (N,)
            and, if it finds masks, ``masks`` (N, H, W) bool; of a segmentor ``labels`` (H, W); of a classifier
            ``scores`` (K,), probabilities.

        Raises:
            InputError: an image that cannot be read, or is none.
        """
        images = [images] if isinstance(images, str | Path | np.ndarray) else list(images)
        found = []
        for begin in range(0, len(images), self.batch):
            group = images[begin : begin + self.batch]
            arrays = [read_image(image) if isinstance(image, str | Path) else image for image in group]
            found += self._predict([self.prepared(check_array(image, i)) for i, image in enumerate(arrays, begin)])
        return found

    def prepared(self, image: np.ndarray) -> dict[str, Any]:
        """What the test pipeline makes of an image: ``inputs`` (3, h, w), not normalised, and what goes with it."""
        if self.task == "classification":
            return dict(inputs=self._prepare(Image.fromarray(image)), label=0)
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR).astype(np.float32 if self._float else np.uint8, copy=False)
        shape = image.shape[:2]
        fields = dict(img_path="", img_id=0, img_shape=shape, ori_shape=shape, height=shape[0], width=shape[1])
        try:
            return self._prepare(dict(img=bgr, **fields))
        except cv2.error as error:
            raise InputError(f"An image of {shape[1]}x{shape[0]} pixels cannot be resized ({error.err}).") from error

    @torch.no_grad()
    def _predict(self, items: list[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
        """Results in the order of ``items``; a segmentor, which does not pad, takes those of one size at a time."""
        sizes = [_shape(item) if self.task == "segmentation" else None for item in items]
        results: list[Any] = [None] * len(items)
        for size in dict.fromkeys(sizes):
            places = [i for i, own in enumerate(sizes) if own == size]
            data = pseudo_collate([items[i] for i in places])
            if self.task == "classification":
                data = dict(inputs=torch.stack(data["inputs"]), label=torch.tensor(data["label"]))
            try:
                samples = self.model.test_step(data)
            except (MemoryError, RuntimeError) as error:
                if not isinstance(error, MemoryError | torch.cuda.OutOfMemoryError) and _NO_MEMORY not in str(error):
                    raise
                raise InputError(f"Too large for this machine's memory ({error}). Give --tile 1024.") from error
            for i, sample in zip(places, samples, strict=True):
                results[i] = self._plain(sample)
        return results

    def _plain(self, sample: Any) -> dict[str, np.ndarray]:
        if self.task == "classification":
            sigmoid = isinstance(self.model.loss, nn.Module) and "Binary" in type(self.model.loss).__name__
            scores = sample["scores"].sigmoid() if sigmoid else sample["scores"].softmax(0)
            return dict(scores=scores.cpu().numpy())
        if self.task == "segmentation":
            kind = np.uint8 if len(self.classes) <= 256 else np.uint16
            return dict(labels=sample.pred_sem_seg.data[0].cpu().numpy().astype(kind))
        found = sample.pred_instances.cpu().numpy()
        result = dict(boxes=found.bboxes, scores=found.scores, labels=found.labels)
        if "masks" in found:
            result["masks"] = np.asarray(found.masks, dtype=bool)
        return result


def load(
    config: str | Path,
    checkpoint: str | Path | None = None,
    *,
    device: str | None = None,
    batch: int = 1,
    tta: bool = False,
    score: float = 0.0,
) -> Predictor:
    """A trained model, ready to be called with images.

    Args:
        config: a config's file or name, or the work dir of a run, which has both config and checkpoint.
        checkpoint: weights; by default the last ones of the work dir.
        device: such as "cpu" or "cuda:0"; by default a GPU if there is one.
        batch: images that go through the network at once.
        tta: test-time augmentation, see ``tta.augment_test``.
        score: objects of lower scores are not wanted; where that changes no other, they are not looked for, which
            saves the suppression of their boxes and their masks.

    Raises:
        InputError: a config or checkpoint that cannot be used, or that do not belong together.
    """
    config, checkpoint = _files(Path(config), checkpoint and Path(checkpoint))
    weights = read_checkpoint(checkpoint)
    device = _device(device)
    cfg = load_config(str(config), None, ("model", "test_dataloader"))
    record = _record(cfg, weights)
    _size_by_record(cfg, record)
    model = build_model(cfg)
    check_fit(model, weights, str(checkpoint), exact=False)
    if tta:
        augment_test(cfg)
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            model = MODELS.build(dict(cfg.model, module=model))
    else:
        _look_for(model, score)
    model = revert_sync_batchnorm(model)
    exact_batches.attach(model)
    return Predictor(cfg, model.to(device).eval(), record, batch)


def _look_for(model: nn.Module, score: float) -> None:
    for head in (getattr(model, "bbox_head", None), getattr(model, "roi_head", None)):
        if type(head).__name__ in _ABOVE_THRESHOLD and "score_thr" in head.test_cfg:
            head.test_cfg.score_thr = max(head.test_cfg.score_thr, score - 1e-6)


def _files(config: Path, checkpoint: Path | None) -> tuple[Path, Path]:
    """Config and checkpoint; a work dir may stand for either."""
    if checkpoint is None or checkpoint.is_dir():
        folder = checkpoint or config
        checkpoint = last_checkpoint(folder) if folder.is_dir() else None
        if checkpoint is None:
            raise InputError(f"{folder} is no work dir with a last_checkpoint. Give a checkpoint file.")
    if config.is_dir():
        # An evaluation leaves its own config there, named NAME_test.py (run.build_runner).
        found = [path for path in config.glob("*.py") if not path.stem.endswith("_test")]
        if not found:
            raise InputError(f"{config} holds no config (.py) as a training run leaves it there. Give one.")
        config = max(found, key=lambda path: path.stat().st_mtime)
    return config, checkpoint


def _device(name: str | None) -> torch.device:
    try:
        device = torch.device(name or get_device())
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"--device {name} cannot be used ({reason}). Give cpu, or cuda.") from error
    return device


def _record(cfg: Config, weights: Mapping[str, Any]) -> dict[str, Any]:
    """What labels mean: as the checkpoint tells it, else the config."""
    meta = weights.get("meta")
    meta = meta if isinstance(meta, Mapping) else {}
    own = {key.lower(): value for key, value in {**meta, **(meta.get("dataset_meta") or {})}.items()}
    facts = meta.get(FACTS) or {}
    configured = data_sets(cfg, ("test",))[0].classes
    classes = tuple(own.get("classes") or facts.get("classes") or configured)
    values = facts.get("mask_values") or (mask_values(cfg) if classes == configured else None)
    palette = own.get("palette")
    return dict(
        classes=classes,
        configured=configured,
        palette=palette if isinstance(palette, list | tuple) and len(palette) >= len(classes) else None,
        mask_values=values or list(range(len(classes))),
        evaluation={key: facts[key] for key in _EVALUATION if facts.get(key) is not None},
    )


def _size_by_record(cfg: Config, record: Mapping[str, Any]) -> None:
    """Heads for the checkpoint's classes, and a classifier's crop: the config may be of other data."""
    count = len(record["classes"])
    if cfg.model.type == "ImageClassifier":
        cfg.model.network.num_classes = count or cfg.model.network.num_classes
        record["classes"] = record["classes"] or tuple(map(str, range(cfg.model.network.num_classes)))
        cfg.model.init_cfg = None
        normal = {key: cfg.model.data_preprocessor[key] for key in ("mean", "std")}
        for data in data_sets(cfg, ("test",)):
            data.entry.transform.update(**normal, **record["evaluation"])
    elif count != len(record["configured"]):
        size_heads(cfg.model, count, len(record["configured"]))


def _for_new_images(steps: Sequence[Any]) -> list[Any]:
    """A test pipeline without what reads files; so are the views of test-time augmentation inside it."""
    kept: list[Any] = []
    for step in steps:
        if isinstance(step, list | tuple):
            inner = _for_new_images(step)
            kept += [inner] if inner else []
            continue
        name = type_name(step)
        if name in _READING or "Annotation" in name:
            continue
        nested = dict(transforms=_for_new_images(step["transforms"])) if "transforms" in step else {}
        kept.append(ConfigDict(step, **nested))
    return kept


def _shape(item: Mapping[str, Any]) -> tuple:
    inputs = item["inputs"]
    return tuple(tuple(view.shape) for view in inputs) if isinstance(inputs, list) else tuple(inputs.shape)
