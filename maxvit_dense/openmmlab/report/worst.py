"""The images with most mistakes, on one picture."""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .tally import Mistakes

_SIDE, _COLUMNS = 360, 5
_MISSED, _FALSE = (255, 170, 0), (255, 40, 60)


def draw_worst(worst: Sequence[Mistakes]) -> bytes | None:
    """A JPEG of the images, the worst first: missed objects in orange, false ones and wrong pixels in red.

    Returns:
        None if there is none, or no file of theirs is left.
    """
    tiles = [tile for tile in map(_tile, sorted(worst, reverse=True)) if tile is not None]
    if not tiles:
        return None
    rows = -(-len(tiles) // _COLUMNS)
    sheet = Image.new("RGB", (_SIDE * min(len(tiles), _COLUMNS), _SIDE * rows), "white")
    for i, tile in enumerate(tiles):
        sheet.paste(tile, (_SIDE * (i % _COLUMNS), _SIDE * (i // _COLUMNS)))
    stream = io.BytesIO()
    sheet.save(stream, format="JPEG", quality=90, subsampling=0)  # thin lines keep their colour
    return stream.getvalue()


def _tile(image: Mistakes) -> Image.Image | None:
    try:
        with Image.open(image.path) as opened:
            picture = opened.convert("RGB")
    except (OSError, ValueError, SyntaxError):
        return None
    if image.wrong is not None:
        picture = _redden(picture, image.wrong)
    width = picture.width
    picture = ImageOps.contain(picture, (_SIDE - 4, _SIDE - 20))
    pen = ImageDraw.Draw(picture)
    for boxes, colour in ((image.missed, _MISSED), (image.false, _FALSE)):
        for box, name in boxes:
            _draw_box(pen, [value * picture.width / width for value in box], name, colour)
    tile = Image.new("RGB", (_SIDE, _SIDE), "white")
    tile.paste(picture, (2, 18))
    ImageDraw.Draw(tile).text((4, 3), _caption(image), fill="black", font=ImageFont.load_default(12))
    return tile


def _draw_box(pen: ImageDraw.ImageDraw, box: list[float], name: str, colour: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = box
    pen.rectangle((x1, y1, max(x1, x2), max(y1, y2)), outline=colour, width=2)
    pen.text((x1 + 3, y1 + 1), name, fill=colour, font=ImageFont.load_default(10), stroke_width=1, stroke_fill="black")


def _redden(picture: Image.Image, wrong: np.ndarray) -> Image.Image:
    mask = Image.fromarray((wrong * 150).astype(np.uint8)).resize(picture.size, Image.Resampling.NEAREST)
    return Image.composite(Image.new("RGB", picture.size, _FALSE), picture, mask)


def _caption(image: Mistakes) -> str:
    name = image.path.replace("\\", "/").rpartition("/")[2]
    if image.wrong is not None:
        return f"{name[:30]}: {100 * image.badness:.1f}% wrong"
    return f"{name[:30]}: {len(image.missed)} missed, {len(image.false)} false"
