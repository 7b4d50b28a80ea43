"""Pictures of results that people can read: one label an object, sizes that fit the image, a colour a class.

Drawn with Pillow. mmdet's and mmseg's visualizers draw every guess, each label over the last, in one size of line, and
need matplotlib's figures, whose memory grows with the image.
"""

import colorsys
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .results import TOP, count, kind, mask_overlap, overlaps, pick, pieces, ranked

LONG_SIDE = 640  # pixels; smaller images are enlarged, or no label would fit
_SAME_PLACE = 0.5  # boxes or masks that share this much of their union are guesses at one object, of any class
_INSIDE = 0.85  # and so is one of the same class that lies this much inside another
_OPACITY = 0.45
_LEGEND = 8  # classes
Colour = tuple[int, int, int]


def _colours(number: int) -> list[Colour]:
    """Colours for classes, the hues of neighbours far apart."""
    hues = ((0.02 + i * 0.618034) % 1 for i in range(number))
    shades = ((0.75, 0.95), (0.9, 0.75), (0.55, 1.0))
    return [tuple(round(255 * part) for part in colorsys.hsv_to_rgb(hue, *shades[i % 3])) for i, hue in enumerate(hues)]


def best_of_each(result: Mapping) -> dict:
    """One guess an object, the surest; ``result`` has them in the order of their scores."""
    boxes, labels, masks, kept = result["boxes"], result["labels"], pieces(result), []
    for i in range(count(result)):
        union, smaller = overlaps(boxes[kept], boxes[i])
        if masks:
            union = np.maximum(union, [mask_overlap(masks[j], masks[i]) for j in kept])
        same = labels[kept] == labels[i]
        if not np.any((union > _SAME_PLACE) | (same & (smaller > _INSIDE))):
            kept.append(i)
    return pick(result, np.array(kept, dtype=int))


def draw(
    image: np.ndarray, result: Mapping, classes: Sequence[str], palette: Sequence[Colour] | None = None
) -> Image.Image:
    """A picture of an image (H, W, 3) and what was found in it, ``results.select`` applied; it may be enlarged."""
    palette = [tuple(map(int, colour)) for colour in palette] if palette else _colours(len(classes))
    factor = max(1, round(LONG_SIDE / max(image.shape[:2])))
    picture = Image.fromarray(np.ascontiguousarray(image))
    if kind(result) == "detection":
        result = best_of_each(result)
        for piece, label in zip(pieces(result) or [], result["labels"], strict=False):
            if piece.mask.size:
                alpha = Image.fromarray(piece.mask * np.uint8(255 * _OPACITY))
                picture.paste(palette[label], (piece.left, piece.top), alpha)
    elif kind(result) == "segmentation":
        table = np.array(palette, dtype=np.uint8).take(result["labels"], axis=0, mode="clip")
        picture = Image.blend(picture, Image.fromarray(table), _OPACITY)
    picture = picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.BICUBIC)
    pen = _Pen(picture)
    if kind(result) == "detection":
        pen.objects(result["boxes"] * factor, result, classes, palette)
    elif kind(result) == "segmentation":
        pen.legend([(palette[i], f"{classes[i]} {share:.0%}") for i, share in ranked(result, _LEGEND)])
    else:
        pen.legend([(palette[i], f"{classes[i]} {score:.2f}") for i, score in ranked(result, TOP)])
    return picture


@lru_cache(maxsize=8)
def _font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.load_default(size)


class _Pen:
    """Draws on one picture, in sizes that fit it."""

    def __init__(self, picture: Image.Image):
        self.size = picture.size
        self.draw = ImageDraw.Draw(picture)
        short = min(picture.size)
        self.line = max(2, round(short / 250))
        self.font = _font(round(max(12, min(short / 28, 40))))
        self.placed: list[tuple[float, float, float, float]] = []

    def objects(self, boxes: np.ndarray, result: Mapping, classes: Sequence[str], palette: Sequence[Colour]) -> None:
        """Boxes, then labels, so that no line crosses a label; the surest choose their place first."""
        for box, label in zip(boxes, result["labels"], strict=True):
            self.draw.rectangle(tuple(box), outline=palette[label], width=self.line)
        for box, label, score in zip(boxes, result["labels"], result["scores"], strict=True):
            self.label(box, f"{classes[label]} {score:.2f}", palette[label])

    def label(self, box: np.ndarray, text: str, colour: Colour) -> None:
        """Above its box, or where there is room: below, inside, beside."""
        width, height = self._extent(text)
        x1, y1, x2, y2 = map(float, box)
        wanted = [(x1, y1 - height), (x1, y2), (x1, y1), (x2 - width, y2 - height), (x2, y1), (x1 - width, y1)]
        places = [self._inside(x, y, width, height) for x, y in wanted]
        place = min(places, key=lambda p: sum(_shared(p, other) for other in self.placed))  # of equal ones the first
        self.placed.append(place)
        self._tag(place, text, colour)

    def legend(self, entries: Sequence[tuple[Colour, str]]) -> None:
        """Lines in the lower left corner."""
        extents = [self._extent(text) for _, text in entries]
        y = self.size[1] - sum(height for _, height in extents)
        for (colour, text), (width, height) in zip(entries, extents, strict=True):
            self._tag((0, y, width, y + height), text, colour)
            y += height

    def _extent(self, text: str) -> tuple[float, float]:
        _, _, right, bottom = self.draw.textbbox((0, 0), text or " ", font=self.font)
        return right + 4 * self.line, max(bottom, self.font.size) + 2 * self.line

    def _inside(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        x, y = max(0, min(x, self.size[0] - width)), max(0, min(y, self.size[1] - height))
        return x, y, x + width, y + height

    def _tag(self, place: tuple[float, float, float, float], text: str, colour: Colour) -> None:
        light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140
        self.draw.rectangle(place, fill=colour)
        self.draw.text((place[0] + 2 * self.line, place[1]), text, fill="black" if light else "white", font=self.font)


def _shared(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
