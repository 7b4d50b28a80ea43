"""What is measured, in words: a network, how it runs, on what."""

import re
from dataclasses import dataclass

from ..errors import InputError

Size = tuple[int, int]

_FLAGS = ("train", "features", "bf16", "fp16", "cuda", "fold", "compile", "channels_last", "recompute", "cheap")


@dataclass(frozen=True)
class Row:
    """One network at one work.

    Attributes:
        text: the words that it was read from.
        source, name: "ours", "timm" or "torchvision", and the network's name there.
        flags: of ``_FLAGS``: a training step (forward and backward) in place of inference; feature maps in place of
            scores; number format of autocast; device; BatchNorm folded; compiled; channels-last memory; blocks, or what
            is cheap in them, recomputed in the backward pass.
        batch, size: images and their (height, width) in pixels.
        window: (Ph, Pw) of attention, or "ratio": 1/32 of the image; None for the network's own.
        images: sizes of the images in the corners of a canvas of ``size``; empty: each fills it.
    """

    text: str
    source: str
    name: str
    flags: frozenset[str]
    batch: int = 1
    size: Size = (224, 224)
    window: Size | str | None = None
    images: tuple[Size, ...] = ()


def parse_row(text: str) -> Row:
    """Reads "[timm:|torchvision:]NAME", then flags and KEY=VALUE, for example
    "maxvit_t train features batch=4 size=544x672 images=400x534,534x400,400x600,400x667".

    Raises:
        InputError: a word that means nothing here; what contradicts another. Names are checked when networks are made.
    """
    name, *words = text.split() or [""]
    source, colon, rest = name.partition(":")
    source, name = (source, rest) if colon else ("ours", name)
    values: dict = {}
    for word in words:
        key, equals, value = word.partition("=")
        if key == "batch" and value.isdecimal() and int(value):
            values[key] = int(value)
        elif key in ("size", "window") and (size := _size(value)):
            values[key] = size
        elif word == "window=ratio":
            values[key] = value
        elif key == "images" and all(sizes := tuple(map(_size, value.split(",")))):
            values[key] = sizes
        elif key not in _FLAGS or equals:
            raise InputError(
                f"{text!r}: {word!r} means nothing here. Give {', '.join(_FLAGS)}, batch=8, size=800x1333, window=7, "
                "window=ratio or images=400x534,534x400"
            )
    row = Row(text, source, name, frozenset(words) & set(_FLAGS), **values)
    for wrong, reason in _contradictions(row):
        if wrong:
            raise InputError(f"{text!r}: {reason}")
    return row


def _size(text: str) -> Size | None:
    match = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    return (int(match[1]), int(match[2] or match[1])) if match else None


def _contradictions(row: Row) -> list[tuple[bool, str]]:
    """What a row cannot be, each with the reason."""
    recomputes = row.flags & {"recompute", "cheap"}
    outside = any(h > row.size[0] or w > row.size[1] for h, w in row.images)
    return [
        (row.source not in ("ours", "timm", "torchvision"), "networks are NAME (ours), timm:NAME or torchvision:NAME"),
        (not row.name, "a row begins with a network, maxvit_t or timm:convnext_tiny"),
        ("fold" in row.flags and "train" in row.flags, "BatchNorm is folded for inference; leave out fold or train"),
        (bool(recomputes) and "train" not in row.flags, "recomputing is for training; add train"),
        (row.source == "torchvision" and bool(recomputes), "torchvision's networks recompute nothing"),
        (row.source == "torchvision" and "features" in row.flags, "torchvision's networks give class scores only"),
        (row.source != "ours" and "cheap" in row.flags, "cheap is an option of our networks; timm's have recompute"),
        (row.source != "ours" and bool(row.images), "only our networks take images of different sizes"),
        (bool(row.images) and len(row.images) != row.batch, f"{len(row.images)} images for a batch of {row.batch}"),
        (outside, "an image is larger than the canvas; give size=HxW of the largest sides"),
    ]


@dataclass(frozen=True)
class Group:
    """Rows measured side by side, one repetition each in turn.

    Attributes:
        work: words that all rows share.
        networks: words of each row, which go before those.
        repetitions: rounds.
    """

    work: str
    networks: tuple[str, ...]
    repetitions: int = 5

    @property
    def rows(self) -> list[Row]:
        split = (network.partition(" ") for network in self.networks)
        return [parse_row(f"{name} {self.work} {own}") for name, _, own in split]


_TIMM, _TORCHVISION = "timm:maxvit_tiny_tf_224", "torchvision:maxvit_t"
_KIND = "maxvit_t.tv_in1k"  # ours of torchvision's kind, the same function as torchvision's
_PEERS = ("timm:swin_tiny_patch4_window7_224", "timm:convnext_tiny")
# timm takes sizes that its window divides: this is its nearest to 800x1333.
_TIMM_DENSE = f"{_TIMM} window=7 size=896x1344"
# Images of COCO as detectors resize and pad them: they fill 64% of the canvas.
_CANVAS, _MIXED = "size=384x480", "images=284x380,380x284,284x426,284x475"
_CANVAS_GPU, _MIXED_GPU = "size=1088x1344", "images=800x1067,1067x800,800x1199,800x1333"
_DENSE_ROWS = (
    "maxvit_t size=800x1333",
    "maxvit_t size=800x1333 cheap",
    _TIMM_DENSE,
    "timm:convnext_tiny size=800x1333",
    "timm:swin_tiny_patch4_window7_224 size=800x1333",
)

PRESETS = {
    "cpu": (
        Group("batch=8", ("maxvit_t fold", "maxvit_t", f"{_KIND} fold", _TIMM, _TORCHVISION, *_PEERS)),
        Group("batch=8 bf16", ("maxvit_t fold", f"{_KIND} fold", _TIMM, _TORCHVISION)),
        Group("batch=8 compile", ("maxvit_t fold", f"{_KIND} fold", _TIMM, _TORCHVISION)),
        Group("batch=8 train", ("maxvit_t", _KIND, _TIMM, _TORCHVISION, *_PEERS), 3),
        Group("features", ("maxvit_t fold size=800x1333", _TIMM_DENSE), 3),
        Group("features train", ("maxvit_t size=800x1333", "maxvit_t size=800x1333 cheap", _TIMM_DENSE), 2),
        Group("features size=832x1344 window=ratio", ("maxvit_t fold", _TIMM), 3),
        Group("features size=832x1344 window=ratio train", ("maxvit_t", _TIMM), 1),
        Group(f"features batch=4 {_CANVAS} train", ("maxvit_t", f"maxvit_t {_MIXED}"), 3),
    ),
    "gpu": (
        Group("batch=256 bf16 cuda compile channels_last", ("maxvit_t fold", _TIMM, _TORCHVISION, *_PEERS), 20),
        Group("batch=256 bf16 cuda compile channels_last train", ("maxvit_t", _TIMM, _TORCHVISION, *_PEERS), 20),
        Group("batch=256 bf16 cuda channels_last", ("maxvit_t fold", _TIMM, _TORCHVISION), 20),
        Group("features batch=2 bf16 cuda compile", ("maxvit_t fold size=800x1333", _TIMM_DENSE), 20),
        Group("features batch=2 bf16 cuda compile train", ("maxvit_t size=800x1333", _TIMM_DENSE), 20),
        Group("features batch=2 size=832x1344 window=ratio bf16 cuda train", ("maxvit_t", _TIMM), 20),
        Group(f"features batch=4 {_CANVAS_GPU} bf16 cuda train", ("maxvit_t", f"maxvit_t {_MIXED_GPU}"), 20),
    ),
    "count": (
        Group("batch=8 cuda bf16", ("maxvit_t fold", _TIMM, *_PEERS)),
        Group("batch=8 cuda train", ("maxvit_t", _TIMM, *_PEERS)),
        Group("batch=8 cuda train bf16", ("maxvit_t", _TIMM, *_PEERS)),
        Group("batch=2 features cuda train", _DENSE_ROWS),
        Group("batch=2 features cuda train bf16", _DENSE_ROWS),
    ),
}
