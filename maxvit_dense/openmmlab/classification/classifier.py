"""Any timm network as a classifier that mmengine's Runner trains, with timm's losses and mixing."""

from collections.abc import Mapping
from typing import Any

import timm
import torch
from mmengine.logging import MMLogger
from mmengine.model import BaseDataPreprocessor, BaseModel, BaseModule
from mmengine.registry import MODELS
from timm.data import Mixup
from timm.data.random_erasing import RandomErasing
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy
from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase

from ...weights.safe_load import backbone_state_dict
from ..weights import load_network, network_layout, read_weights

_LOSSES = ("cross_entropy", "bce")


@MODELS.register_module()
class ImageBatch(BaseDataPreprocessor):
    """Moves a batch to the device, normalises it, and in training erases and mixes there, as timm's loader does.

    Args:
        mean, std: of the three channels, for values 0 to 1.
        random_erasing: arguments of ``timm.data.random_erasing.RandomErasing``; None for none.
        mixup: arguments of ``timm.data.Mixup`` but num_classes and label_smoothing; None for none.
        num_classes: columns of mixed targets.
        label_smoothing: of mixed targets.
        channels_last: memory format of the images.
    """

    def __init__(
        self,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        random_erasing: Mapping[str, Any] | None = None,
        mixup: Mapping[str, Any] | None = None,
        num_classes: int = 1000,
        label_smoothing: float = 0.1,
        channels_last: bool = True,
    ):
        super().__init__(non_blocking=True)
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", 255.0 * torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.erasing = dict(random_erasing) if random_erasing else None
        smoothing = dict(num_classes=num_classes, label_smoothing=label_smoothing)
        self.mixup = Mixup(**mixup, **smoothing) if mixup else None
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format

    def forward(self, data: dict[str, Any], training: bool = False) -> dict[str, Any]:
        """``inputs`` (B, 3, H, W) of 0-255 and ``label`` (B,), to normalised images and ``target``.

        ``target`` is (B,) labels, or (B, num_classes) shares if mixed.
        """
        inputs = self.cast_data(data["inputs"]).to(self.mean.dtype, memory_format=self.memory_format)
        target = self.cast_data(data["label"])
        inputs = (inputs - self.mean) / self.std
        if training and self.erasing:
            inputs = RandomErasing(**self.erasing, device=inputs.device)(inputs)
        if training and self.mixup:
            inputs, target = self.mixup(inputs, target)
        return dict(inputs=inputs, target=target)


class _Network(BaseModule):
    """Holds a timm network where detectors hold theirs, ``backbone.net``: checkpoints of both are read alike."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def layer_ids(self) -> dict[str, int]:
        """Depth of each parameter for layer-wise learning rates, the head's left out: it learns at the full rate."""
        layers = group_parameters(self.net, self.net.group_matcher(), reverse=True)
        head = max(layers[name] for name, _ in self.net.named_parameters() if name in layers)
        return {f"net.{name}": depth for name, depth in layers.items() if depth < head}

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A timm network with timm's loss.

    Its ``state_dict`` names are timm's behind ``backbone.net.``; timm's own names load too.

    Args:
        network: arguments of ``timm.create_model``, ``model_name`` among them, num_classes, drop_path_rate, ...
        data_preprocessor: of type ``ImageBatch``.
        loss: "cross_entropy" (softmax) or "bce" (sigmoid).
        label_smoothing: of the loss; mixed targets carry their own.
        with_cp: recompute in the backward pass rather than keep: "cheap" or True, as the detectors' backbone has it.
        norm_eval: keep BatchNorm's statistics as they are.
        channels_last: memory format of the weights.
        compile: True, or arguments of ``torch.compile``, for the network. (The Runner's own ``compile`` takes in the
            optimizer too, which PyTorch 2.14 cannot compile as mmengine groups its parameters.)
        init_cfg: None, or dict(type="Pretrained", checkpoint=...) with a tag, a URL or a file: timm's weights, or a
            checkpoint of a training run. The classifier is loaded if its number of classes is this network's and
            ``head=False`` is not in it. ``missing_ok=True`` in it starts from random weights, with a warning, if the
            hub cannot be reached.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        network: Mapping[str, Any],
        data_preprocessor: Mapping[str, Any] | nn.Module,
        loss: str = "cross_entropy",
        label_smoothing: float = 0.1,
        with_cp: bool | str = False,
        norm_eval: bool = False,
        channels_last: bool = True,
        compile: bool | Mapping[str, Any] = False,
        init_cfg: Mapping[str, Any] | None = None,
    ):
        super().__init__(data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        if loss not in _LOSSES:
            raise ValueError(f"loss={loss!r}: give {' or '.join(_LOSSES)}")
        self.variant = network["model_name"].partition(".")[0]
        if not timm.is_model(self.variant):
            raise ValueError(f"timm has no network {self.variant}; timm.list_models() lists them")
        net = timm.create_model(**network)
        net.set_grad_checkpointing(with_cp)
        self.backbone = _Network(net)
        if channels_last:
            self.backbone.to(memory_format=torch.channels_last)
        if compile:
            net.compile(**({} if compile is True else compile))  # in place: names of weights stay
        self.norm_eval = norm_eval
        self.loss = _loss(loss, label_smoothing, mixed=self.data_preprocessor.mixup is not None)
        self.register_load_state_dict_pre_hook(_accept_timm_names)

    @property
    def num_classes(self) -> int:
        return self.backbone.net.num_classes

    def init_weights(self) -> None:
        """Loads what ``init_cfg`` names; without it the weights stay as the network initialised itself."""
        if self.init_cfg and not self.is_init:
            logger = MMLogger.get_current_instance()
            weights = read_weights(self.variant, self.init_cfg, logger)
            if weights is not None:
                load_network(self.backbone.net, weights, self.init_cfg, logger)
        self.is_init = True

    def train(self, mode: bool = True) -> "ImageClassifier":
        super().train(mode)
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _NormBase):
                    module.eval()
        return self

    def forward(self, inputs: Tensor, target: Tensor, mode: str = "tensor") -> Any:
        """(B, 3, H, W) to logits (B, classes); a loss; or scores and label of each image, by mmengine's ``mode``."""
        logits = self.backbone(inputs)
        if mode == "loss":
            return dict(loss=self.loss(logits, target))
        if mode == "predict":
            return [dict(scores=s, label=t) for s, t in zip(logits.float(), target, strict=True)]
        return logits


def _loss(name: str, label_smoothing: float, mixed: bool) -> nn.Module:
    """timm's choice (its training script): mixed targets are soft and smoothed already."""
    if name == "bce":
        return BinaryCrossEntropy(label_smoothing)
    return SoftTargetCrossEntropy() if mixed else LabelSmoothingCrossEntropy(label_smoothing)


def _accept_timm_names(module: ImageClassifier, state_dict: dict[str, Tensor], prefix: str, *args: Any) -> None:
    """Give the weights of a bare network, as timm publishes them, the names that they have here."""
    if prefix or any(name.startswith("backbone.net.") for name in state_dict):
        return
    weights = network_layout(backbone_state_dict(state_dict), module.backbone.net)
    state_dict.clear()
    state_dict.update({f"backbone.net.{name}": value for name, value in weights.items()})
