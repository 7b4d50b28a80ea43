"""A trained model of this package's configs, made ready for export."""

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmseg.structures import SegDataSample
from timm.utils.model import reparameterize_model
from torch import Tensor, nn

from ...errors import InputError
from ...export.formats import Graph
from ...runtime.card import Card
from ..classification.classifier import ImageClassifier
from ..inference.predictor import Predictor
from . import detectors, segmentors
from .preparation import preparation

_TRACED = (192, 256)  # pixels; no size of the comparison


@dataclass
class Exportable:
    """A graph, what its file's card says, and PyTorch's own answer to the same inputs.

    Attributes:
        graph: to export.
        card: without precision, versions and comparison.
        reference: inputs by name to outputs by name, by the model as it was trained, in mmdet's or mmseg's own steps.
        left_out: what was not exported and why; empty if the model is whole.
    """

    graph: Graph
    card: Card
    reference: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
    left_out: str = ""


class _Scores(nn.Module):
    outputs = ("scores",)

    def __init__(self, network: nn.Module, sigmoid: bool):
        super().__init__()
        self.network, self.sigmoid = network, sigmoid

    def forward(self, image: Tensor) -> Tensor:
        logits = self.network(image)
        return logits.sigmoid() if self.sigmoid else logits.softmax(-1)


class _Maps(nn.Module):
    def __init__(self, backbone: nn.Module):
        super().__init__()
        self.backbone = backbone
        self.outputs = tuple(f"stride{stride}" for stride in backbone.strides)

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.backbone(image))


def make_exportable(predictor: Predictor, name: str, backbone_alone: bool) -> Exportable:
    """Chooses what can be exported of a model: all of it, or its backbone.

    Args:
        predictor: the model as ``inference.predictor.load`` makes it, on the CPU.
        name: of the config.
        backbone_alone: leave neck and heads out.

    Raises:
        InputError: its images are prepared as the runtime cannot.
    """
    model = predictor.model
    families = dict(detection=detectors, segmentation=segmentors)
    family = None if backbone_alone else families.get(predictor.task)
    reason = family.why_not(model) if family else None
    card = dict(name=name, classes=list(predictor.classes), precision="fp32")
    card["mask_values"] = predictor.mask_values and [int(value) for value in predictor.mask_values]
    card["preprocessing"] = preparation(predictor.cfg, model, any_resizing=backbone_alone)
    if backbone_alone or reason:
        return _backbone(model, card, reason)
    if predictor.task == "classification":
        return _classifier(model, card)
    return _detector(model, card) if predictor.task == "detection" else _segmentor(model, card)


def _copy(model: nn.Module) -> nn.Module:
    """The same model without BatchNorm beside convolutions, without gradients, and for images that fill their batch."""
    model = copy.deepcopy(model).eval().requires_grad_(False)
    model.backbone.net = reparameterize_model(model.backbone.net)
    if hasattr(model.backbone, "image_sizes"):
        model.backbone.image_sizes = model.backbone.ready = None
    return model


def _example(batch: int = 2, **others: Tensor) -> dict[str, Tensor]:
    return dict(image=torch.rand(batch, 3, *_TRACED), **others)


def _backbone(model: nn.Module, card: dict, reason: str | None) -> Exportable:
    if isinstance(model, ImageClassifier):
        raise InputError("A classifier is exported whole; leave --backbone out.")
    program = _Maps(_copy(model).backbone)

    @torch.no_grad()
    def reference(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        model.backbone.image_sizes = None
        return _named(program.outputs, model.backbone(torch.from_numpy(inputs["image"])))

    left_out = f"neck and heads: {reason}" if reason else ""
    card = Card(task="features", outputs=list(program.outputs), **card | dict(classes=[], mask_values=None))
    return Exportable(Graph(program.eval(), _example(), program.outputs), card, reference, left_out)


def _classifier(model: ImageClassifier, card: dict) -> Exportable:
    program = _Scores(_copy(model).backbone.net, "Binary" in type(model.loss).__name__)
    whole = _Scores(model.backbone.net, program.sigmoid)
    card = Card(task="classification", outputs=list(program.outputs), **card)

    @torch.no_grad()
    def reference(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return _named(program.outputs, [whole(torch.from_numpy(inputs["image"]))])

    return Exportable(Graph(program.eval(), _example(), program.outputs), card, reference)


def _segmentor(model: nn.Module, card: dict) -> Exportable:
    program = segmentors.SegmentorProgram(_copy(model))

    @torch.no_grad()
    def reference(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        images = torch.from_numpy(inputs["image"])
        meta = dict(img_shape=tuple(images.shape[2:]), ori_shape=tuple(inputs["original"].tolist()))
        found = model.predict(images, [SegDataSample(metainfo=meta) for _ in images])
        return dict(labels=np.stack([sample.pred_sem_seg.data[0].numpy() for sample in found]))

    card = Card(task="segmentation", outputs=list(program.outputs), **card)
    example = _example(original=torch.tensor([100, 120]))
    return Exportable(Graph(program.eval(), example, program.outputs), card, reference)


def _detector(model: nn.Module, card: dict) -> Exportable:
    two_stages = hasattr(model, "roi_head")
    program = (detectors.TwoStageProgram if two_stages else detectors.OneStageProgram)(_copy(model))
    head = getattr(model.roi_head, "mask_head", None) if two_stages and model.roi_head.with_mask else None
    probabilities: list[Tensor] = []
    if head is not None:
        head.register_forward_hook(lambda module, args, logits: probabilities.append(logits.sigmoid()))

    @torch.no_grad()
    def reference(inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        image = torch.from_numpy(inputs["image"])
        size = tuple(image.shape[2:])
        meta = dict(img_shape=size, ori_shape=size, batch_input_shape=size, pad_shape=size, scale_factor=(1.0, 1.0))
        probabilities.clear()
        found = model.predict(image, [DetDataSample(metainfo=meta)])[0].pred_instances
        result = dict(boxes=found.bboxes.numpy(), scores=found.scores.numpy(), labels=found.labels.numpy())
        if head is not None:
            drawn = probabilities[0] if probabilities else torch.zeros(0, 1, 1, 1)
            own = torch.zeros_like(found.labels) if head.class_agnostic else found.labels
            result["masks"] = drawn[torch.arange(len(drawn)), own].numpy()
        return result

    threshold = model.roi_head.test_cfg.get("mask_thr_binary", 0.5) if two_stages else 0.5
    card = Card(
        task="detection", outputs=list(program.outputs), images_per_call=1, mask_threshold=float(threshold), **card
    )
    return Exportable(Graph(program.eval(), _example(batch=1), program.outputs, free_batch=False), card, reference)


def _named(names: tuple[str, ...], values: list[Tensor]) -> dict[str, np.ndarray]:
    return {name: value.numpy() for name, value in zip(names, values, strict=True)}
