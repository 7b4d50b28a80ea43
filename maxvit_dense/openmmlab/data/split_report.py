"""What a reading of a data set found: its splits, their images, classes and faults."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .faults import Fault, found
from .image_check import ImageFacts, complaints, read_images

Progress = Callable[[str, int, int], None]


@dataclass
class Sample:
    """An image of a split and what is drawn over it.

    size: (width, height) as annotated, if it is. boxes: (label, [x, y, width, height]) in pixels. polygons: (label,
    [x1, y1, ...]). mask: its file. label: of the whole picture.
    """

    path: Path
    size: tuple[int, int] | None = None
    boxes: list[tuple[int, list[float]]] = field(default_factory=list)
    polygons: list[tuple[int, list[float]]] = field(default_factory=list)
    mask: Path | None = None
    label: int | None = None


@dataclass
class SplitReport:
    """What was found in one split.

    Attributes:
        samples: all its images.
        histogram: objects, images or masks of each class, as ``unit`` says.
        sizes: (width, height) of each image that could be read, as training reads it.
        faults: of it, fatal ones and others.
    """

    name: str
    unit: str
    samples: list[Sample] = field(default_factory=list)
    histogram: Counter = field(default_factory=Counter)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def read_images(self, decode: bool, progress: Progress) -> dict[Path, ImageFacts]:
        """Facts of what lies where images should; adds their faults and sizes."""
        images = {sample.path: sample.size for sample in self.samples if os.path.lexists(sample.path)}
        facts, faults = read_images(images, decode, partial(progress, self.name))
        self.faults += faults
        if decode:
            said = complaints(path for path, fact in facts.items() if not fact.reason)
            self.faults += found({"damaged image": [f"{Path(path).name} ({text})" for path, text in said.items()]})
        self.sizes = [(fact.width, fact.height) for fact in facts.values() if not fact.reason]
        return facts


def add_absent(
    splits: list[SplitReport], parts: Sequence[str] = (), how: str = "convert-dataset draws some"
) -> None:
    """Add a fault of each split that training reads and that is not among ``parts``, by default the splits' names."""
    names = parts or [split.name for split in splits]
    absent = [need for need in ("train", "val") if not any(name.startswith(need) for name in names)]
    splits[0].faults += found({"absent split": absent}, how=how)


@dataclass
class Report:
    """A data set: its layout, classes and splits; in words, what was taken for granted of them."""

    layout: str
    classes: list[str]
    splits: list[SplitReport]
    remark: str = ""

    @property
    def fails(self) -> bool:
        return any(fault.fatal for split in self.splits for fault in split.faults)
