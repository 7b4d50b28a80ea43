"""EncoderDecoder models of mmseg from images to labels at any size."""

import torch
import torch.nn.functional as F
from mmseg.models import EncoderDecoder
from mmseg.models.decode_heads import FPNHead, UPerHead
from mmseg.models.utils import Upsample
from torch import Tensor, nn

_MAX_SIDE = 65536  # of the labels, in pixels


class SegmentorProgram(nn.Module):
    """(B, 3, H, W) and the size of the labels, int64 (height, width), to labels (B, height, width)."""

    outputs = ("labels",)

    def __init__(self, segmentor: EncoderDecoder):
        super().__init__()
        self.segmentor = segmentor
        _free_sizes(segmentor.decode_head)

    def forward(self, image: Tensor, original: Tensor) -> Tensor:
        head = self.segmentor.decode_head
        logits = head(self.segmentor.extract_feat(image))
        logits = _resize(logits, image.shape[2], image.shape[3], head.align_corners)
        height, width = original.tolist()
        for side in (height, width):
            torch._check(side >= 1)
            torch._check(side <= _MAX_SIDE)
        logits = _resize(logits, height, width, self.segmentor.align_corners)
        if logits.shape[1] > 1:
            return logits.argmax(1)
        return (logits.sigmoid() > head.threshold).squeeze(1).long()


def _resize(logits: Tensor, height: int, width: int, align_corners: bool) -> Tensor:
    return F.interpolate(logits, (height, width), mode="bilinear", align_corners=align_corners)


class AveragePools(nn.Module):
    """``nn.AdaptiveAvgPool2d`` as two matrix products: ONNX's pools need to know the size of the map."""

    def __init__(self, pool: nn.AdaptiveAvgPool2d):
        super().__init__()
        size = pool.output_size
        self.size = (size, size) if isinstance(size, int) else tuple(size)

    def forward(self, x: Tensor) -> Tensor:
        down, across = (_shares(count, x, axis) for count, axis in zip(self.size, (2, 3), strict=True))
        return down @ x @ across.transpose(0, 1)


def _shares(count: int, x: Tensor, axis: int) -> Tensor:
    """(count, n): what each position of an axis adds to each of ``count`` means, which may overlap."""
    length = x.shape[axis]
    place, part = torch.arange(length, device=x.device), torch.arange(count, device=x.device).unsqueeze(1)
    first, end = part * length // count, ((part + 1) * length + count - 1) // count
    inside = ((place >= first) & (place < end)).to(x.dtype)
    return inside / inside.sum(1, keepdim=True)


class Enlarged(nn.Module):
    """mmseg's ``Upsample`` by a whole factor, which its own ``int(size * 2.0)`` would fix to the example's size."""

    def __init__(self, upsample: Upsample):
        super().__init__()
        self.factor, self.mode, self.align_corners = int(upsample.scale_factor), upsample.mode, upsample.align_corners

    def forward(self, x: Tensor) -> Tensor:
        size = (x.shape[2] * self.factor, x.shape[3] * self.factor)
        return F.interpolate(x, size, mode=self.mode, align_corners=self.align_corners)


def _free_sizes(head: nn.Module) -> None:
    """Puts layers that take any size in the place of those that read the example's."""
    for module in list(head.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d):
                setattr(module, name, AveragePools(child))
            elif isinstance(child, Upsample):
                setattr(module, name, Enlarged(child))


def why_not(segmentor: nn.Module) -> str | None:
    """The reason for which a segmentor cannot be exported whole, or None if it can."""
    if type(segmentor) is not EncoderDecoder:
        return f"it is a {type(segmentor).__name__}, not an EncoderDecoder"
    if type(segmentor.decode_head) not in (UPerHead, FPNHead):
        return f"its head is {type(segmentor.decode_head).__name__}, neither UPerHead nor FPNHead"
    if segmentor.test_cfg.get("mode", "whole") != "whole":
        return "it is evaluated in sliding windows (test_cfg.mode=slide); say --cfg-options model.test_cfg.mode=whole"
    return None
