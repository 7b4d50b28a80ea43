"""Padded batches of detectors and segmentors in which each image is as it would be alone.

A data preprocessor pads images of different sizes to one canvas. With this, the backbone computes each image's own
features (``net(images, sizes=...)``); sizes are ``img_shape`` of the data samples. In evaluation, neck and heads then
see each image's features by themselves, without any padding, so predictions are those of the image alone, for every
family. In training they see the whole canvas: 3x3 convolutions of neck and dense heads find zeros outside an image, and
anchors there take no part in the loss. (What a region reads half a position beyond its image's edge, and statistics of
GroupNorm, are of the canvas.)
"""

from typing import Any

from torch import Tensor, nn

from ..sizes import ceil_div

_STRIDES = (2, 4, 8, 16, 32, 64, 128)
_DENSE_PARTS = ("neck", "rpn_head", "bbox_head", "decode_head", "auxiliary_head")


class ImageSizes:
    """(h, w) in pixels of each image of the batch at hand, and the canvas that they lie on."""

    def __init__(self):
        self.sizes: list[tuple[int, int]] | None = None
        self.canvas: tuple[int, int] | None = None

    def note(self, inputs: Any, samples: Any) -> None:
        """Reads a preprocessed batch; one without sizes of images inside its canvas has none."""
        self.sizes = self.canvas = None
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
    _predict_one_by_one(model, found)
    return True


def _zero_outside(conv: nn.Module, args: tuple, found: ImageSizes) -> tuple | None:
    sizes = found.at_stride_of(args[0]) if conv.training else None
    if sizes is None or all(size == tuple(args[0].shape[-2:]) for size in sizes):
        return None
    mask = args[0].new_zeros(len(sizes), 1, *args[0].shape[-2:])
    for item, (h, w) in zip(mask, sizes, strict=True):
        item[:, :h, :w] = 1
    return (args[0] * mask, *args[1:])


def _predict_one_by_one(model: nn.Module, found: ImageSizes) -> None:
    """Puts a prediction image by image, and a loss without anchors in the padding, in the place of the model's own."""
    predict, loss = model.predict, model.loss

    def predict_exactly(inputs: Tensor, samples: Any = None, *args: Any, **kwargs: Any) -> list:
        sizes = found.of(inputs)
        if sizes is None:
            return predict(inputs, samples, *args, **kwargs)
        slides = getattr(getattr(model, "test_cfg", None), "mode", "whole") == "slide"  # over crops of its own
        maps = None if slides else model.backbone(inputs)
        found.sizes = None  # what follows sees an image alone
        results = []
        for i, (sample, (h, w)) in enumerate(zip(samples, sizes, strict=True)):
            sample.set_metainfo(dict(batch_input_shape=(h, w), pad_shape=(h, w), img_padding_size=[0] * 4))
            if maps is not None:
                strides = model.backbone.strides
                model.backbone.ready = tuple(
                    m[i : i + 1, :, : ceil_div(h, s), : ceil_div(w, s)] for m, s in zip(maps, strides, strict=True)
                )
            results += predict(inputs[i : i + 1, :, :h, :w], [sample], *args, **kwargs)
        return results

    def loss_of_real_positions(inputs: Tensor, samples: Any, *args: Any, **kwargs: Any) -> dict:
        for sample, size in zip(samples, found.of(inputs) or [None] * len(samples), strict=True):
            if size is not None:
                sample.set_metainfo(dict(pad_shape=size))
        return loss(inputs, samples, *args, **kwargs)

    model.predict, model.loss = predict_exactly, loss_of_real_positions
