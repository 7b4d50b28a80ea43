"""What is measured, as data: a network, how it runs, on what. Parsed from text; imports no torch."""

import re
from dataclasses import dataclass, field, replace

from ..errors import InputError

SOURCES = ("ours", "timm", "torchvision")
DTYPES = ("fp32", "bf16", "fp16")
MODES = ("eval", "train")
FLAGS = ("fold", "compile", "channels_last", "recompute", "recompute_cheap")
_VALUES = ("window", "img_size", "size", "dtype")
_SIZE = re.compile(r"(\d+)(?:x(\d+))?")

Size = tuple[int, int]


def parse_size(text: str) -> Size:
    """(height, width) in pixels or tokens of "224" or "800x1333".

    Raises:
        InputError: anything else, or a side of 0.
    """
    match = _SIZE.fullmatch(text)
    if not match or 0 in (size := (int(match[1]), int(match[2] or match[1]))):
        raise InputError(f"size {text!r}: give a positive number of pixels, 224, or height x width, 800x1333")
    return size


def size_text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"


@dataclass(frozen=True)
class Model:
    """A network and how it runs.

    Attributes:
        source: "ours", "timm" or "torchvision".
        name: the network's name there.
        window: (Ph, Pw) or "ratio"; None for the default: ours 7 (or what img_size gives), timm's 1/32 of the image.
        img_size: of ours, the size in pixels that sets bias tables and window, as in timm.create_model.
        size: image size that the model is run at in place of the workload's.
        dtype: number format in place of the workload's.
        flags: any of FLAGS: BatchNorm folded, compiled, weights and images in channels-last memory; in training, blocks
            or (ours alone) what is cheap in them recomputed rather than kept.
    """

    source: str
    name: str
    window: Size | str | None = None
    img_size: Size | None = None
    size: Size | None = None
    dtype: str | None = None
    flags: frozenset[str] = frozenset()

    def plain(self) -> "Model":
        """The same function in fp32, eager, unfolded: what its outputs are compared with."""
        return replace(self, dtype=None, size=None, flags=frozenset())

    def at_any_size(self) -> "Model":
        """The model without the size that it is run at."""
        return replace(self, size=None)

    def __str__(self) -> str:
        options = [flag for flag in FLAGS if flag in self.flags]
        for key in _VALUES:
            value = getattr(self, key)
            if value is not None:
                options.append(f"{key}={size_text(value) if isinstance(value, tuple) else value}")
        source = "" if self.source == "ours" else f"{self.source}:"
        return source + self.name + (":" + ",".join(options) if options else "")


def parse_model(text: str) -> Model:
    """Reads [timm:|torchvision:]NAME[:option,...], for example "timm:maxvit_tiny_tf_224:window=7,size=896x1344".

    Raises:
        InputError: an option that does not exist or has no such value. Names are checked when networks are made.
    """
    source, colon, rest = text.partition(":")
    if source not in SOURCES or not colon:
        source, rest = "ours", text
    name, _, options = rest.partition(":")
    if not name:
        raise InputError(f"model {text!r} has no name: give for example maxvit_t or timm:convnext_tiny")
    values: dict = {}
    for option in filter(None, options.split(",")):
        key, _, value = option.partition("=")
        if key in FLAGS and not value:
            values["flags"] = values.get("flags", frozenset()) | {key}
        elif key == "window" and value == "ratio":
            values[key] = value
        elif key in ("window", "img_size", "size"):
            values[key] = parse_size(value)
        elif key == "dtype" and value in DTYPES:
            values[key] = value
        else:
            raise InputError(
                f"model {text!r}: there is no option {option!r}. Options are {', '.join(FLAGS)}, window=7, "
                f"window=ratio, img_size=HxW, size=HxW, dtype={' or '.join(DTYPES)}"
            )
    return Model(source, name, **values)


@dataclass(frozen=True)
class Workload:
    """What a model is asked to do.

    Attributes:
        mode: "eval", or "train": forward and backward to every parameter, without the optimizer.
        batch: images.
        size: (height, width) in pixels.
        dtype: "fp32", or the autocast format.
        features: the last four feature maps in place of class scores.
        device: "cpu" or "cuda".
    """

    mode: str = "eval"
    batch: int = 8
    size: Size = (224, 224)
    dtype: str = "fp32"
    features: bool = False
    device: str = "cpu"

    def of(self, model: Model) -> "Workload":
        """With what the model itself asks for in place."""
        return replace(self, size=model.size or self.size, dtype=model.dtype or self.dtype)


@dataclass(frozen=True)
class Goal:
    """A ratio to reach: ``model``'s figure over ``against``'s, or its share of the measured peak if there is none.

    Attributes:
        figure: "speed" (images a second), "memory" (peak) or "peak share".
        bound: the least wanted, or of memory the most.
    """

    model: str
    against: str | None
    bound: float
    figure: str = "speed"

    @property
    def at_most(self) -> bool:
        return self.figure == "memory"


@dataclass(frozen=True)
class Group:
    """Models measured side by side, one repetition each, round after round.

    Attributes:
        title: what the models do, for people.
        models: their texts; a goal names them as they stand here.
        repetitions: rounds.
        seconds: no new round begins after this time of measuring; None for no limit. One round is always made.
        random_sizes: of > 0, that many images of random sizes in place of the repetitions, compilations counted.
        reference: model whose outputs all others must have; None for each model's own (networks.reference_of).
    """

    title: str
    models: tuple[str, ...]
    workload: Workload = field(default_factory=Workload)
    repetitions: int = 5
    seconds: float | None = None
    random_sizes: int = 0
    reference: str | None = None
    goals: tuple[Goal, ...] = ()
