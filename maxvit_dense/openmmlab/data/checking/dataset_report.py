"""Shows what ``dataset_check`` found: a table for the terminal, a picture sheet with annotations drawn over samples."""

import colorsys
import random
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from ....files import file_written_aside
from ..layouts.coco_file import is_polygon
from ..layouts.mask_folders import IGNORED_LABEL
from .dataset_check import Report, Sample, SplitReport

_CLASS_ROWS = 30
_BAR = 30  # characters
_TILE, _COLUMNS, _MARGIN = 240, 4, 6  # pixels
_SEED = 0
_OVERLAY = 0.5


def report_text(report: Report) -> str:
    """The table: images and sizes of each split, objects of each class, faults."""
    remark = f" ({report.remark})" if report.remark else ""
    lines = [f"layout: {report.layout}, {len(report.classes)} classes{remark}", ""]
    for split in report.splits:
        lines += [*_split_lines(split, report.classes), ""]
    verdict = "training would fail or go wrong; see FAULT above" if report.fails else "fit to train on"
    return "\n".join([*lines, verdict])


def write_sheet(report: Report, path: Path, per_split: int = 12) -> int:
    """Draw samples of each split with their annotations into one picture; the number drawn.

    Args:
        report: of ``check_dataset``.
        path: of the PNG, written aside, then renamed.
        per_split: images drawn of each split, the same ones each time.
    """
    tiles = []
    for split in report.splits:
        readable = [sample for sample in split.samples if sample.path.is_file()]
        chosen = random.Random(_SEED).sample(readable, min(per_split, len(readable)))
        tiles += [tile for sample in chosen if (tile := _tile(sample, split, report.classes))]
    rows = max(1, -(-len(tiles) // _COLUMNS))
    step = _TILE + _MARGIN
    sheet = Image.new("RGB", (_COLUMNS * step + _MARGIN, rows * step + _MARGIN), "white")
    for index, tile in enumerate(tiles):
        row, column = divmod(index, _COLUMNS)
        sheet.paste(tile, (_MARGIN + column * step, _MARGIN + row * step))
    with file_written_aside(path) as partial:
        sheet.save(partial, "PNG")
    return len(tiles)


def _split_lines(split: SplitReport, classes: list[str]) -> list[str]:
    counted = f", {split.histogram.total()} boxes" if split.unit == "boxes" else ""
    lines = [f"{split.name}: {len(split.samples)} images{counted}"]
    if split.sizes:
        widths, heights = np.array(split.sizes).T
        for what, sides in (("width", widths), ("height", heights)):
            lines.append(f"  {what} {sides.min()} to {sides.max()} pixels, median {np.median(sides):g}")
    lines.append(f"  {split.unit} of each class:")
    most = max(split.histogram.values(), default=1)
    width = max((len(name) for name in classes[:_CLASS_ROWS]), default=0)
    for index, name in enumerate(classes[:_CLASS_ROWS]):
        count = split.histogram[index]
        lines.append(f"  {name:<{width}} {count:>8} {'#' * -(-_BAR * count // most)}".rstrip())
    if len(classes) > _CLASS_ROWS:
        lines.append(f"  ... {len(classes) - _CLASS_ROWS} more classes")
    absent = sum(split.histogram[index] == 0 for index in range(len(classes)))
    lines += [f"  {absent} of {len(classes)} classes do not occur"] if absent else []
    faults = sorted(split.faults, key=lambda fault: not fault.fatal)
    return lines + [f"  {'FAULT' if fault.fatal else 'note '} {fault}" for fault in faults]


def _tile(sample: Sample, split: SplitReport, classes: list[str]) -> Image.Image | None:
    try:
        with Image.open(sample.path) as opened:
            full = max(opened.size)
            opened.draft("RGB", (2 * _TILE, 2 * _TILE))  # a photograph need not be decoded in full
            image = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return None
    if sample.mask:
        image = _with_mask(image, sample.mask)
    scale = _TILE / max(image.size)
    image = image.resize([max(1, round(side * scale)) for side in image.size])
    _draw_objects(image, sample, _TILE / full, classes)
    tile = Image.new("RGB", (_TILE, _TILE), "white")
    tile.paste(image)
    label = "" if sample.label is None else f": {classes[sample.label]}"
    caption = f"{split.name}{label}"
    ImageDraw.Draw(tile).text((3, _TILE - 13), caption, fill="black", stroke_width=2, stroke_fill="white")
    return tile


def _draw_objects(image: Image.Image, sample: Sample, scale: float, classes: list[str]) -> None:
    draw = ImageDraw.Draw(image)
    colours = _colours(len(classes))
    for label, numbers in sample.polygons:
        if is_polygon(numbers):
            points = [number * scale for number in numbers]
            draw.line(points + points[:2], fill=colours[label], width=1)
    for label, (x, y, width, height) in sample.boxes:
        left, top = x * scale, y * scale
        right, bottom = (x + max(width, 0)) * scale, (y + max(height, 0)) * scale
        if np.isfinite([left, top, right, bottom]).all():
            draw.rectangle([left, top, right, bottom], outline=colours[label], width=2)
            draw.text((left + 2, top + 1), classes[label], fill="white", stroke_width=1, stroke_fill="black")


def _with_mask(image: Image.Image, mask: Path) -> Image.Image:
    try:
        with Image.open(mask) as opened:
            values = np.asarray(opened.resize(image.size, Image.Resampling.NEAREST))
    except (OSError, SyntaxError, ValueError):
        return image
    if values.ndim != 2:
        return image
    colours = np.array(_colours(256), np.uint8)[values.astype(np.int64) % 256]
    blended = _OVERLAY * colours + (1 - _OVERLAY) * np.asarray(image)
    return Image.fromarray(np.where((values == IGNORED_LABEL)[..., None], image, blended).astype(np.uint8))


def _colours(count: int) -> list[tuple[int, int, int]]:
    """Colours far apart: steps of the golden angle around the colour circle."""
    circle = (colorsys.hsv_to_rgb(index * 0.381966 % 1, 0.9, (1.0, 0.7)[index % 2]) for index in range(count))
    return [tuple(round(255 * part) for part in colour) for colour in circle]
