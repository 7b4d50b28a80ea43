"""The six shapes as signed distances, which give anti-aliased edges and exact masks from one formula."""

import math

import numpy as np

CLASSES = ("circle", "square", "triangle", "star", "ring", "cross")

RING_HOLE = 0.55  # inner radius over outer radius
STAR_NOTCH = 0.45  # radius of the inner corners over that of the tips
CROSS_ARM = 0.32  # half the width of an arm over the radius


def _regular(radii: list[float]) -> list[tuple[float, float]]:
    """Corners at equal angles, at the given radii in turn."""
    angles = [2 * math.pi * i / len(radii) for i in range(len(radii))]
    return [(r * math.cos(a), r * math.sin(a)) for r, a in zip(radii, angles, strict=True)]


def _cross() -> list[tuple[float, float]]:
    near, far = CROSS_ARM, math.sqrt(1 - CROSS_ARM**2)
    arm = [(far, -near), (far, near), (near, near)]  # one arm and the inner corner that follows it
    quarter_turns = [(1, 0), (0, 1), (-1, 0), (0, -1)]
    return [(x * c - y * s, x * s + y * c) for c, s in quarter_turns for x, y in arm]


# Corners of the shapes with straight sides; all lie in the circle of radius 1 and touch it.
_CORNERS = {
    "square": _regular([1.0] * 4),
    "triangle": _regular([1.0] * 3),
    "star": _regular([1.0, STAR_NOTCH] * 5),
    "cross": _cross(),
}


def shape_area(name: str, radius: float) -> float:
    """Area in square pixels of a shape whose circumscribed circle has this radius in pixels."""
    if name == "circle":
        unit = math.pi
    elif name == "ring":
        unit = math.pi * (1 - RING_HOLE**2)
    else:
        corners = _CORNERS[name]
        following = corners[1:] + corners[:1]
        unit = sum(ax * by - bx * ay for (ax, ay), (bx, by) in zip(corners, following, strict=True)) / 2
    return unit * radius**2


def signed_distance(name: str, x: np.ndarray, y: np.ndarray, radius: float, angle: float) -> np.ndarray:
    """Distance in pixels from each point to the outline, negative inside.

    Args:
        name: one of CLASSES.
        x, y: pixel offsets from the shape's centre, of shapes that broadcast together.
        radius: of the circumscribed circle, in pixels.
        angle: rotation in radians.
    """
    if name == "circle":
        return np.hypot(x, y) - radius
    if name == "ring":
        half_width = radius * (1 - RING_HOLE) / 2
        return np.abs(np.hypot(x, y) - (radius - half_width)) - half_width
    cos, sin = radius * math.cos(angle), radius * math.sin(angle)
    return _polygon_distance(x, y, [(cx * cos - cy * sin, cx * sin + cy * cos) for cx, cy in _CORNERS[name]])


def _polygon_distance(x: np.ndarray, y: np.ndarray, corners: list[tuple[float, float]]) -> np.ndarray:
    """Signed distance to a polygon: nearest edge for the size, even-odd crossings for the sign."""
    x, y = np.broadcast_arrays(x, y)
    nearest = np.full(x.shape, np.inf, dtype=x.dtype)
    inside = np.zeros(x.shape, dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        ex, ey = bx - ax, by - ay
        px, py = x - ax, y - ay
        along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
        nearest = np.minimum(nearest, (px - along * ex) ** 2 + (py - along * ey) ** 2)
        spans_row = (ay > y) != (by > y)
        inside ^= spans_row & ((px * ey < py * ex) == (ey > 0))
    return np.where(inside, -1, 1).astype(x.dtype) * np.sqrt(nearest)
