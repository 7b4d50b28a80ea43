"""Shapes, textures and outlines, drawn and traced by OpenCV."""

import math

import cv2
import numpy as np

_SCALE = 4  # shapes are filled this many times as large, which gives edges and coverage without steps
_SHIFT = 4  # binary digits after the point of OpenCV's coordinates
_MIN_PERIOD = 5.0  # pixels of a texture; a finer one would not survive JPEG


def _corners(*radii: float, turn: float = 0.0) -> np.ndarray:
    """Corners (n, 2) at equal angles around the origin, at the given radii."""
    angles = 2 * np.pi * np.arange(len(radii)) / len(radii) + turn
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * np.array(radii)[:, None]


def _cross(half_arm: float) -> np.ndarray:
    far = (1 - half_arm**2) ** 0.5
    arm = np.array([(far, -half_arm), (far, half_arm), (half_arm, half_arm)])  # and the inner corner after it
    return np.concatenate([arm @ ((c, s), (-s, c)) for c, s in ((1, 0), (0, 1), (-1, 0), (0, -1))])


# Outlines in the circle of radius 1, which they touch; what lies in two of them is a hole.
_SHAPES = {
    "circle": [_corners(*[1.0] * 72)],
    "square": [_corners(*[1.0] * 4)],
    "triangle": [_corners(*[1.0] * 3)],
    "star": [_corners(*[1.0, 0.45] * 5)],
    "ring": [_corners(*[1.0] * 72), _corners(*[0.55] * 72)],
    "cross": [_cross(0.32)],
}
CLASSES = tuple(_SHAPES)


def shape_coverage(name: str, x: float, y: float, radius: float, angle: float) -> tuple[np.ndarray, int, int]:
    """The share of each pixel that a shape covers: float32 (n, n) of 0...1, with the left and top pixel of this patch.

    Args:
        name: one of CLASSES.
        x, y, radius: of the circle around it, in pixels; pixel (0, 0) reaches from 0 to 1.
        angle: rotation in radians.
    """
    left, top = int(np.floor(x - radius)) - 1, int(np.floor(y - radius)) - 1
    side = int(np.ceil(2 * radius)) + 3
    rotation = radius * np.array([(math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))])
    # OpenCV's integers are the centres of pixels.
    outlines = [(outline @ rotation + (x - left, y - top)) * _SCALE - 0.5 for outline in _SHAPES[name]]
    filled = np.zeros((_SCALE * side, _SCALE * side), np.float32)
    cv2.fillPoly(filled, [np.round(outline * 2**_SHIFT).astype(np.int32) for outline in outlines], 1.0, shift=_SHIFT)
    return cv2.resize(filled, (side, side), interpolation=cv2.INTER_AREA), left, top


PLAIN = "plain"
PATTERNS = ("cloud", "stripes", "checker", "dots")
TEXTURES = (PLAIN, *PATTERNS)


def texture(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """A random field of one of TEXTURES: float32 (height, width) within -1...1."""
    if kind == "cloud":
        return _cloud(rng, height, width)
    angle = rng.uniform(0, 2 * np.pi)
    period = 1.0 if kind == PLAIN else max(_MIN_PERIOD, rng.uniform(0.06, 0.14) * min(height, width))
    y, x = (np.mgrid[:height, :width] - np.reshape([height - 1, width - 1], (2, 1, 1)) / 2).astype(np.float32) / period
    u = x * math.cos(angle) + y * math.sin(angle) + rng.random()  # along and across, in periods
    v = y * math.cos(angle) - x * math.sin(angle) + rng.random()
    if kind == PLAIN:
        return u / np.abs(u).max()
    if kind == "dots":
        return np.clip((0.3 - np.hypot(u % 1 - 0.5, v % 1 - 0.5)) * period, -1, 1)
    flanks = 3  # a square wave whose flanks slope
    if kind == "stripes":
        return np.clip(flanks * np.sin(2 * np.pi * u), -1, 1)
    return np.clip(flanks * np.sin(np.pi * u), -1, 1) * np.clip(flanks * np.sin(np.pi * v), -1, 1)


def _cloud(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of several scales, each half as coarse and 0.6 times as strong as the one before."""
    field = np.zeros((height, width), np.float32)
    strength, cells = 1.0, 3
    while cells <= max(4, min(height, width) // 4):
        coarse = rng.standard_normal((cells, cells), dtype=np.float32)
        field += strength * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
        strength, cells = strength * 0.6, cells * 2
    return np.clip((field - field.mean()) / max(1.5 * float(field.std()), 1e-6), -1, 1)


def mask_to_polygons(mask: np.ndarray) -> list[list[float]]:
    """Polygons [x0, y0, x1, y1, ...] that pycocotools rasterises to exactly the mask, bool (H, W).

    Polygons, as COCO has them, rather than run lengths: mmdet's multi-scale 3x bases load masks with
    ``poly2mask=False``, and then silently ignore every instance that is not a list of polygons. A mask with a hole is
    cut through the hole, so that each polygon encloses nothing but mask.
    """
    # OpenCV joins the centres of pixels. Those of a mask twice as large lie within the pixels' halves, so that an
    # outline goes around the centres of all pixels of the mask and of no other.
    doubled = np.kron(mask, np.ones((2, 2), bool)).astype(np.uint8)
    outlines, hierarchy = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    for outline, (*_, parent) in zip(outlines, hierarchy[0] if outlines else (), strict=True):
        if parent >= 0:  # the border of a hole
            cut = int(outline[:, 0, 0].min() + outline[:, 0, 0].max() + 1) // 4
            columns = np.arange(mask.shape[1])
            return mask_to_polygons(mask & (columns < cut)) + mask_to_polygons(mask & (columns >= cut))
    return [(outline.ravel() / 2).tolist() for outline in outlines]
