"""Padded batches of detectors and segmentors in which each image is as it would be alone.

A data preprocessor pads images of different sizes to one canvas. With this, the backbone computes each image's own
features (``net(images, sizes=...)``); sizes are ``img_shape`` of the data samples. In evaluation, neck and heads then
see each image's features by themselves, without any padding, so predictions are those of the image alone, for every
family. In training they see the whole canvas, but 3x3 convolutions of neck and dense heads find zeros outside an
image, norms take their statistics from real positions, pooled contexts (PSPNet, UPerNet) are each image's own, regions
read an image's edge beyond it, as RoIAlign does at the edge of a map, and anchors outside take no part in the loss.
(The attention of Mask2Former's pixel decoder is of the canvas in training, and maps that a head enlarges by
interpolation have zeros for neighbours at an image's edge.)
"""

from collections.abc import Callable
from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..sizes import ceil_div

_STRIDES = (2, 4, 8, 16, 32, 64, 128)
_DENSE_PARTS = ("neck", "rpn_head", "bbox_head", "decode_head", "auxiliary_head")
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, nn.GroupNorm)


class ImageSizes:
    """(h, w) in pixels of each image of the batch at hand, and the canvas that they lie on."""

    def __init__(self):
        self.sizes: list[tuple[int, int]] | None = None
        self.canvas: tuple[int, int] | None = None
        self._masks: dict[tuple, Tensor] = {}

    def __deepcopy__(self, memo: dict) -> "ImageSizes":
        return self  # hooks and methods of a copied model hold on to it, so its backbone must too

    def note(self, inputs: Any, samples: Any) -> None:
        """Reads a preprocessed batch; one without sizes of images inside its canvas has none."""
        self.sizes = self.canvas = None
        self._masks = {}
        if not isinstance(inputs, Tensor) or not samples or not all(hasattr(s, "img_shape") for s in samples):
            return
        sizes = [(int(s.img_shape[0]), int(s.img_shape[1])) for s in samples]
        height, width = inputs.shape[-2:]
        if len(sizes) == len(inputs) and all(0 < h <= height and 0 < w <= width for h, w in sizes):
            self.sizes, self.canvas = sizes, (height, width)

    def of(self, x: Tensor) -> list[tuple[int, int]] | None:
        """Sizes of the images in a batch that fills this canvas; None for crops of it, say, or regions."""
        return self.sizes if self.canvas == tuple(x.shape[-2:]) and self.sizes and len(self.sizes) == len(x) else None

    def at_stride_of(self, x: Tensor) -> list[tuple[int, int]] | None:
        """Sizes of the images in maps of the whole canvas, (B, C, H / stride, W / stride); None of other maps."""
        if not self.sizes or len(self.sizes) != len(x):
            return None
        for stride in _STRIDES:
            if (ceil_div(self.canvas[0], stride), ceil_div(self.canvas[1], stride)) == tuple(x.shape[-2:]):
                return [(ceil_div(h, stride), ceil_div(w, stride)) for h, w in self.sizes]
        return None

    def if_padded(self, x: Tensor) -> list[tuple[int, int]] | None:
        """Like ``at_stride_of``, but None too where every image fills its map."""
        sizes = self.at_stride_of(x)
        return sizes if sizes and any(size != tuple(x.shape[-2:]) for size in sizes) else None

    def inside(self, x: Tensor) -> Tensor | None:
        """(B, 1, H, W), 1 inside each image and 0 outside, made once a batch; None where every image fills its map."""
        sizes, key = self.if_padded(x), (x.shape[-2:], x.dtype, x.device)
        if sizes is not None and key not in self._masks:
            self._masks[key] = x.new_zeros(len(sizes), 1, *x.shape[-2:])
            for item, (h, w) in zip(self._masks[key], sizes, strict=True):
                item[:, :h, :w] = 1
        return None if sizes is None else self._masks[key]


def attach(model: nn.Module) -> bool:
    """Has a detector or segmentor work so, if its backbone can and is not told otherwise (``exact_batches=False``).

    Returns:
        Whether it does.
    """
    model = getattr(model, "module", model)  # of a wrapper for several processes, or for test-time augmentation
    backbone, preprocessor = getattr(model, "backbone", None), getattr(model, "data_preprocessor", None)
    if not getattr(backbone, "exact_batches", False) or preprocessor is None or not hasattr(model, "predict"):
        return False
    found = ImageSizes()
    backbone.image_sizes = found
    preprocessor.register_forward_hook(lambda module, args, batch: found.note(batch["inputs"], batch["data_samples"]))
    for part in [getattr(model, name) for name in _DENSE_PARTS if isinstance(getattr(model, name, None), nn.Module)]:
        for module in part.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size != (1, 1):
                module.register_forward_pre_hook(lambda conv, args: _zero_outside(conv, args, found))
            elif isinstance(module, _NORMS):
                _put_before(module, _of_real_positions, found)
            elif hasattr(module, "pool_scales") and isinstance(module, nn.ModuleList):  # mmseg's PPM
                _put_before(module, _of_own_contexts, found)
    for module in getattr(model, "roi_head", nn.Identity()).modules():
        if hasattr(module, "roi_layers"):
            module.register_forward_pre_hook(lambda extractor, args: _extend_edges(extractor, args, found))
    _predict_one_by_one(model, found)
    return True


def _zero_outside(conv: nn.Module, args: tuple, found: ImageSizes) -> tuple | None:
    inside = found.inside(args[0]) if conv.training else None
    return None if inside is None else (args[0] * inside, *args[1:])


def _put_before(module: nn.Module, compute: Callable, found: ImageSizes) -> None:
    """Has ``compute(module, maps, sizes, found)`` take a training batch with padding in place of the forward pass.

    As a method, so that a copy of the module calls the copy.
    """

    def forward(self: nn.Module, x: Tensor) -> Any:
        sizes = found.if_padded(x) if self.training else None
        return type(self).forward(self, x) if sizes is None else compute(self, x, sizes, found)

    module.forward = MethodType(forward, module)


def _of_real_positions(norm: nn.Module, x: Tensor, sizes: list[tuple[int, int]], found: ImageSizes) -> Tensor:
    """The norm's forward pass over real positions: BatchNorm's of all images together, GroupNorm's image by image."""
    forward = partial(type(norm).forward, norm)
    images = [item[:, :h, :w] for item, (h, w) in zip(x, sizes, strict=True)]
    if isinstance(norm, nn.GroupNorm):
        return _on_canvas([forward(image[None])[0] for image in images], x)
    flat = [image.flatten(1) for image in images]
    packed = forward(torch.cat(flat, dim=1)[None, ..., None])[0, ..., 0]  # of (1, C, all positions, 1)
    parts = packed.split([part.shape[1] for part in flat], dim=1)
    return _on_canvas([part.unflatten(1, size) for part, size in zip(parts, sizes, strict=True)], x)


def _on_canvas(images: list[Tensor], like: Tensor) -> Tensor:
    """Maps (C, h, w) in the top left corners of zeros of the size of ``like``."""
    height, width = like.shape[-2:]
    return torch.stack([F.pad(image, (0, width - image.shape[2], 0, height - image.shape[1])) for image in images])


def _of_own_contexts(
    pyramid: nn.ModuleList, x: Tensor, sizes: list[tuple[int, int]], found: ImageSizes
) -> list[Tensor]:
    """Pyramid pooling of each image by itself; the norms behind the pools take all images together, as ever."""
    contexts = []
    for average, convolution in pyramid:
        pooled = [average(item[:, :h, :w]) for item, (h, w) in zip(x, sizes, strict=True)]
        small = _without_sizes(convolution, torch.stack(pooled), found)
        enlarge = partial(F.interpolate, mode="bilinear", align_corners=pyramid.align_corners)
        contexts.append(_on_canvas([enlarge(c[None], s)[0] for c, s in zip(small, sizes, strict=True)], x))
    return contexts


def _without_sizes(module: nn.Module, x: Tensor, found: ImageSizes) -> Tensor:
    """A module called on maps that no padding has reached, whatever their size looks like."""
    sizes, found.sizes = found.sizes, None
    try:
        return module(x)
    finally:
        found.sizes = sizes


def _extend_edges(extractor: nn.Module, args: tuple, found: ImageSizes) -> tuple | None:
    """Maps whose last row and column go on outside each image, as RoIAlign's clamp has it at the edge of a map."""
    if not extractor.training or all(found.if_padded(x) is None for x in args[0]):
        return None
    return (tuple(_extended(x, found.at_stride_of(x)) for x in args[0]), *args[1:])


def _extended(x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
    rows, columns = (torch.arange(n, device=x.device) for n in x.shape[-2:])
    images = zip(x, sizes, strict=True)
    return torch.stack([item[:, rows.clamp(max=h - 1)][..., columns.clamp(max=w - 1)] for item, (h, w) in images])


def _predict_one_by_one(model: nn.Module, found: ImageSizes) -> None:
    """Puts a prediction image by image, and a loss without anchors in the padding, in the place of the model's own."""

    def predict(self: nn.Module, inputs: Tensor, samples: Any = None, *args: Any, **kwargs: Any) -> list:
        own, sizes = partial(type(self).predict, self), found.of(inputs)
        if sizes is None:
            return own(inputs, samples, *args, **kwargs)
        slides = getattr(getattr(self, "test_cfg", None), "mode", "whole") == "slide"  # over crops of its own
        maps = None if slides else self.backbone(inputs)
        found.sizes = None  # what follows sees an image alone
        results = []
        for i, (sample, (h, w)) in enumerate(zip(samples, sizes, strict=True)):
            sample.set_metainfo(dict(batch_input_shape=(h, w), pad_shape=(h, w), img_padding_size=[0] * 4))
            if maps is not None:
                strides = self.backbone.strides
                self.backbone.ready = tuple(
                    m[i : i + 1, :, : ceil_div(h, s), : ceil_div(w, s)] for m, s in zip(maps, strides, strict=True)
                )
            results += own(inputs[i : i + 1, :, :h, :w], [sample], *args, **kwargs)
        return results

    def loss(self: nn.Module, inputs: Tensor, samples: Any, *args: Any, **kwargs: Any) -> dict:
        for sample, size in zip(samples, found.of(inputs) or [None] * len(samples), strict=True):
            if size is not None:
                sample.set_metainfo(dict(pad_shape=size))
        return type(self).loss(self, inputs, samples, *args, **kwargs)

    model.predict, model.loss = MethodType(predict, model), MethodType(loss, model)
