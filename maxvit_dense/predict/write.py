"""Results as files that other tools read. Nothing is there until it is whole."""

import csv
import importlib.util
import io
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from PIL import Image

from ..errors import InputError, listed
from ..files import file_written_aside, write_whole
from .images import Item
from .results import TOP, Piece, count, pieces, ranked

_PIXEL = 0.5  # from the middle of a pixel, where OpenCV counts contours, to the corner of the image, where boxes do


class Writer:
    """Takes results one by one; ``close`` writes what is one file for all.

    Attributes:
        task: of the results that it takes.
        library: that it needs, beside numpy and Pillow.
        per_image: suffix of the file of each image; None where all go into one.
    """

    task: ClassVar[str] = "detection"
    library: ClassVar[str | None] = None
    per_image: ClassVar[str | None] = None

    def __init__(self, out: Path, classes: Sequence[str], mask_values: Sequence[int] | None = None):
        self.out, self.classes, self.mask_values = out, classes, mask_values

    def target(self, name: str) -> Path:
        """The file of an image of this name; its folders are kept."""
        return self.out / PurePosixPath(name).with_suffix(self.per_image) if self.per_image else self.out

    def targets(self, items: Sequence[Item]) -> list[Path]:
        """All files of some images.

        Raises:
            InputError: two images whose files would have one name.
        """
        found: dict[Path, list[str]] = {}
        for item in items if self.per_image else ():
            found.setdefault(self.target(item.name), []).append(item.name)
        twins = [" and ".join(names) for names in found.values() if len(names) > 1]
        if twins:
            raise InputError(f"Files of {listed(twins)} would have one name. Predict these apart.")
        return [*found] or [self.out]

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        """One image of (height, width) pixels."""
        raise NotImplementedError

    def close(self) -> None:
        """All images are done."""


class CocoResults(Writer):
    """COCO's results, and beside them NAME.images.json, the images and categories that their numbers mean."""

    library = "pycocotools"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.images: list[dict] = []
        self.results: list[dict] = []

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        number = len(self.images) + 1
        self.images.append(dict(id=number, file_name=item.name, height=size[0], width=size[1]))
        masks = pieces(result)
        for i in range(count(result)):
            x1, y1, x2, y2 = map(float, result["boxes"][i])
            entry = dict(
                image_id=number,
                category_id=int(result["labels"][i]) + 1,
                bbox=[x1, y1, x2 - x1, y2 - y1],
                score=float(result["scores"][i]),
            )
            if masks is not None:
                entry["segmentation"] = encode(masks[i], size)
            self.results.append(entry)

    def close(self) -> None:
        categories = [dict(id=i + 1, name=name) for i, name in enumerate(self.classes)]
        beside = dict(images=self.images, categories=categories, annotations=[])
        write_whole(self.out.with_suffix(".images.json"), json.dumps(beside))
        write_whole(self.out, json.dumps(self.results))


def encode(piece: Piece, size: tuple[int, int]) -> dict[str, Any]:
    """COCO's run lengths of a mask on an image of ``size`` (height, width), which is never laid out in memory."""
    from pycocotools import mask as coco

    height, width = size
    rows, length = piece.mask.shape
    columns = np.zeros((length, rows + 2), bool)
    columns[:, 1:-1] = piece.mask.T  # runs go down one column, then the next; each begins and ends outside
    turns = np.flatnonzero(columns.ravel()[1:] != columns.ravel()[:-1])
    column, row = np.divmod(turns, rows + 2)
    places = (piece.left + column) * height + piece.top + row
    starts, ends = places[::2], places[1::2]
    apart = starts[1:] != ends[:-1]  # a run to the foot of a column goes on at the head of the next
    starts, ends = np.append(starts[:1], starts[1:][apart]), np.append(ends[:-1][apart], ends[-1:])
    edges = np.concatenate([[0], np.stack([starts, ends], axis=1).flatten()])
    edges = edges if edges[-1] == height * width else np.append(edges, height * width)
    runs = coco.frPyObjects(dict(counts=np.diff(edges).tolist(), size=[height, width]), height, width)
    return dict(size=[height, width], counts=runs["counts"].decode())


class YoloText(Writer):
    """A text file an image, "label x y w h" a line in shares of the image, and the names in classes.txt."""

    per_image = ".txt"

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        height, width = size
        boxes = result["boxes"] / np.array([width, height, width, height])
        middles, sides = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
        rows = zip(result["labels"], np.hstack([middles, sides]), strict=True)
        lines = [f"{label} " + " ".join(f"{value:.6f}" for value in row) for label, row in rows]
        write_whole(self.target(item.name), "".join(f"{line}\n" for line in lines))

    def close(self) -> None:
        write_whole(self.out / "classes.txt", "".join(f"{name}\n" for name in self.classes))


class Labelme(Writer):
    """A file an image for labelme, to be corrected by hand: polygons where there are masks, else rectangles."""

    per_image = ".json"
    library = "cv2"

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        target = self.target(item.name)
        found = list(_outlines(result))
        parts = Counter(i for i, _ in found)
        shapes = [
            dict(
                label=self.classes[result["labels"][i]],
                points=points,
                shape_type="polygon" if len(points) > 2 else "rectangle",
                group_id=i if parts[i] > 1 else None,
                description=f"score {result['scores'][i]:.3f}",
                flags={},
            )
            for i, points in found
        ]
        beside = dict(imagePath=os.path.relpath(item.path, target.parent), imageData=None)
        size = dict(imageHeight=size[0], imageWidth=size[1])
        content = dict(version="5.5.0", flags={}, shapes=shapes, **beside, **size)
        write_whole(target, json.dumps(content, indent=1))


class LabelStudio(Writer):
    """Tasks with predictions for Label Studio, to be corrected by hand, and beside them its labelling interface."""

    library = "cv2"
    _TAGS = dict(polygonlabels="PolygonLabels", rectanglelabels="RectangleLabels")

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.tasks: list[dict] = []

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        percent = 100 / np.array(size[::-1])
        regions = [self._region(np.array(p) * percent, result, i, size) for i, p in _outlines(result)]
        found = dict(model_version="maxvit_dense", result=regions)
        image = f"/data/local-files/?d={quote(os.fsencode(item.name))}"
        self.tasks.append(dict(data=dict(image=image), predictions=[found]))

    def _region(self, points: np.ndarray, result: Mapping, i: int, size: tuple[int, int]) -> dict[str, Any]:
        """One outline, (N, 2) in percent of the image."""
        name = self.classes[result["labels"][i]]
        if len(points) > 2:
            kind, value = "polygonlabels", dict(points=points.tolist(), closed=True)
        else:
            (x, y), (width, height) = points[0].tolist(), (points[1] - points[0]).tolist()
            kind, value = "rectanglelabels", dict(x=x, y=y, width=width, height=height, rotation=0)
        return dict(
            type=kind,
            from_name=kind,
            to_name="image",
            original_width=size[1],
            original_height=size[0],
            image_rotation=0,
            value=value | {kind: [name]},
            score=float(result["scores"][i]),
        )

    def close(self) -> None:
        names = "".join(f"<Label value={quoteattr(name)}/>" for name in self.classes)
        tools = "".join(f'<{tag} name="{kind}" toName="image">{names}</{tag}>' for kind, tag in self._TAGS.items())
        write_whole(self.out.with_suffix(".xml"), f'<View><Image name="image" value="$image"/>{tools}</View>\n')
        write_whole(self.out, json.dumps(self.tasks))


def _outlines(result: Mapping) -> Iterator[tuple[int, list[list[float]]]]:
    """Each object's number and the polygons (x, y) of its mask, in pixels; without one two corners of its box."""
    masks = pieces(result)
    for i in range(count(result)):
        for points in (_contours(masks[i]) if masks is not None else []) or [result["boxes"][i].reshape(2, 2).tolist()]:
            yield i, points


def _contours(piece: Piece) -> list[list[list[float]]]:
    """Outer outlines of a mask as polygons of (x, y) in pixels; specks of less than three corners are left out."""
    import cv2

    found, _ = cv2.findContours(piece.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_TC89_L1)
    offset = np.array([piece.left + _PIXEL, piece.top + _PIXEL])
    return [(outline[:, 0] + offset).tolist() for outline in found if len(outline) > 2]


class Masks(Writer):
    """A grey PNG an image, each pixel the value that its class has in the masks of the training data."""

    task = "segmentation"
    per_image = ".png"

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        values = np.array(self.mask_values or range(len(self.classes)))
        values = values.astype(np.uint8 if values.max() < 256 else np.uint16)
        with file_written_aside(self.target(item.name)) as partial:
            Image.fromarray(values[result["labels"]]).save(partial, "PNG")


class TopClasses(Writer):
    """A table with the five likeliest classes of each image and their probabilities."""

    task = "classification"

    def __init__(self, *args: Any):
        super().__init__(*args)
        self.rows: list[list[Any]] = []

    def add(self, item: Item, size: tuple[int, int], result: Mapping) -> None:
        for rank, (label, score) in enumerate(ranked(result, TOP), start=1):
            self.rows.append([item.name, rank, self.classes[label], f"{score:.6f}"])

    def close(self) -> None:
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["image", "rank", "class", "score"])
        table.writerows(self.rows)
        write_whole(self.out, os.fsencode(text.getvalue()))  # names as the disk has them


FORMATS: dict[str, type[Writer]] = dict(
    coco=CocoResults, yolo=YoloText, labelme=Labelme, labelstudio=LabelStudio, masks=Masks, csv=TopClasses
)


def choose_format(name: str | None, out: Path, task: str) -> str:
    """The format asked for, else the one that a file's suffix or the task tells.

    Raises:
        InputError: one of another task; none, where there are several; one whose library is not installed.
    """
    fitting = [key for key, writer in FORMATS.items() if writer.task == task]
    by_suffix = {".json": "coco", ".csv": "csv"}.get(out.suffix.lower())
    chosen = name or by_suffix or (fitting[0] if len(fitting) == 1 else None)
    if chosen not in fitting:
        asked = f"--format {name}" if name else f"--out {out}"
        raise InputError(f"{asked} is no form for results of {task}. Give --format {' or '.join(fitting)}.")
    needed = FORMATS[chosen].library
    if needed and importlib.util.find_spec(needed) is None:
        package = dict(cv2="opencv-python-headless").get(needed, needed)
        raise InputError(f"--format {chosen} needs {package}, which is not installed: pip install {package}")
    return chosen
