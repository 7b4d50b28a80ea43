"""Scenes: shapes on textured ground, with the exact visible mask of every shape and a semantic map."""

import math
from dataclasses import dataclass

import numpy as np

from .shapes import CLASSES, shape_area, signed_distance
from .textures import KINDS, PATTERNS, PLAIN, texture_field

SEMANTIC_CLASSES = CLASSES + PATTERNS  # label value 1, 2, ...; plain ground is 0, unlabelled

MIN_VISIBLE = 0.4  # share of a shape's whole area that occlusion and the image border leave
MIN_CONTRAST = 80.0  # RGB distance between a shape's colour and every colour it borders on
MAX_OBJECTS = 5
_OBJECT_SIZE = (0.22, 0.5)  # diameter over the image's shorter side
_SINGLE_SIZE = (0.5, 0.9)
_ACCENT = (22.0, 34.0)  # RGB length of a texture's swing; two of them stay below MIN_CONTRAST
_TRIES = 30  # placements tried before a shape is left out


@dataclass(frozen=True)
class Instance:
    """One shape: its class (index into CLASSES) and visible mask, bool (H, W)."""

    label: int
    mask: np.ndarray
    visible_share: float  # of the whole shape's area

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box of the mask: left, top, width, height in pixels."""
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        left, top = int(columns[0]), int(rows[0])
        return left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1


@dataclass(frozen=True)
class Scene:
    """image uint8 (H, W, 3) RGB; instances back to front; semantic uint8 (H, W), SEMANTIC_CLASSES from 1."""

    image: np.ndarray
    instances: list[Instance]
    semantic: np.ndarray


def draw_scene(rng: np.random.Generator, height: int, width: int) -> Scene:
    """A scene of 1 to 5 shapes of random class, height x width pixels.

    Every instance keeps at least MIN_VISIBLE of its area in sight: a shape that cannot be placed so is not
    drawn at all, so nothing in the picture goes unlabelled.
    """
    canvas = _Canvas(rng, height, width)
    labels = rng.integers(len(CLASSES), size=rng.integers(1, MAX_OBJECTS + 1)).tolist()
    for label in labels:
        canvas.add(label, _OBJECT_SIZE, inset=0.5)
    return canvas.finish()


def draw_single(rng: np.random.Generator, height: int, width: int, label: int) -> Scene:
    """A picture of one whole shape of class CLASSES[label], for classification."""
    canvas = _Canvas(rng, height, width)
    canvas.add(label, _SINGLE_SIZE, inset=1.0)
    return canvas.finish()


class _Canvas:
    """A picture in the making: colours, and which shape owns each pixel (-1: the ground)."""

    def __init__(self, rng: np.random.Generator, height: int, width: int):
        self.rng, self.height, self.width = rng, height, width
        self.owner = np.full((height, width), -1, dtype=np.int16)
        self.labels: list[int] = []
        self.areas: list[float] = []
        self.colours: list[np.ndarray] = []
        self._lay_ground()

    def _lay_ground(self) -> None:
        """One texture, or two that meet along a wavy line."""
        rng, size = self.rng, (self.height, self.width)
        self.ground_colours = [_ground_colour(rng)]
        kind = rng.integers(len(KINDS))
        self.image = _paint(rng, KINDS[kind], self.ground_colours[0], *size)
        self.semantic = np.full(size, _ground_value(KINDS[kind]), dtype=np.uint8)
        if rng.random() < 0.5:
            other = KINDS[(kind + rng.integers(1, len(KINDS))) % len(KINDS)]
            self.ground_colours.append(_ground_colour(rng))
            beyond = texture_field(rng, PLAIN, *size) + 0.2 * texture_field(rng, "cloud", *size) > 0
            colours = _paint(rng, other, self.ground_colours[1], *size)
            self.image = np.where(beyond[..., None], colours, self.image)
            self.semantic[beyond] = _ground_value(other)

    def add(self, label: int, size_range: tuple[float, float], inset: float) -> None:
        """Put a shape on top, unless no place is found that leaves enough of it and of the others in sight.

        Args:
            size_range: least and greatest diameter over the shorter side.
            inset: how many radii the centre stays away from the border.
        """
        for _ in range(_TRIES):
            radius = self.rng.uniform(*size_range) * min(self.height, self.width) / 2
            x = self.rng.uniform(inset * radius, self.width - inset * radius) - 0.5
            y = self.rng.uniform(inset * radius, self.height - inset * radius) - 0.5
            angle = self.rng.uniform(0, 2 * math.pi)
            window, distance = self._distance(CLASSES[label], x, y, radius, angle)
            area = shape_area(CLASSES[label], radius)
            colour = self._contrasting_colour(window)
            if colour is not None and self._enough_visible(window, distance < 0, area):
                break
        else:
            return
        texture = _paint(self.rng, KINDS[self.rng.integers(len(KINDS))], colour, *distance.shape)
        coverage = np.clip(0.5 - distance, 0, 1)[..., None]
        self.image[window] += coverage * (texture - self.image[window])
        self.owner[window][distance < 0] = len(self.labels)
        self.labels.append(label)
        self.areas.append(area)
        self.colours.append(colour)

    def _distance(self, name: str, x: float, y: float, radius: float, angle: float):
        """The part of the image around a shape, as slices, and the signed distance there."""
        top, bottom = max(0, math.floor(y - radius) - 1), min(self.height, math.ceil(y + radius) + 2)
        left, right = max(0, math.floor(x - radius) - 1), min(self.width, math.ceil(x + radius) + 2)
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] - y
        columns = np.arange(left, right, dtype=np.float32)[None, :] - x
        return (slice(top, bottom), slice(left, right)), signed_distance(name, columns, rows, radius, angle)

    def _enough_visible(self, window, covered: np.ndarray, area: float) -> bool:
        if covered.sum() < max(1, MIN_VISIBLE * area):
            return False
        lost = np.bincount(self.owner[window][covered] + 1, minlength=len(self.areas) + 1)[1:]
        kept = self._visible_areas() - lost
        return all(left >= max(1, MIN_VISIBLE * whole) for left, whole in zip(kept, self.areas, strict=True))

    def _visible_areas(self) -> np.ndarray:
        return np.bincount(self.owner.ravel() + 1, minlength=len(self.areas) + 1)[1:]

    def _contrasting_colour(self, window) -> np.ndarray | None:
        """A colour far from the ground's and from those of the shapes in the window, if 50 draws find one."""
        near = [self.colours[i] for i in np.unique(self.owner[window]) if i >= 0]
        taken = np.stack(self.ground_colours + near)
        for _ in range(50):
            colour = _random_colour(self.rng)
            if np.linalg.norm(taken - colour, axis=1).min() >= MIN_CONTRAST:
                return colour
        return None

    def finish(self) -> Scene:
        """Light and grain over everything, rounding, and the annotations."""
        rng, size = self.rng, (self.height, self.width)
        light = 1 + 0.15 * texture_field(rng, PLAIN, *size)
        grain = 4 * rng.standard_normal((*size, 3), dtype=np.float32)
        image = np.clip(self.image * light[..., None] + grain, 0, 255).round().astype(np.uint8)
        visible = self._visible_areas()
        instances = []
        for index, (label, area) in enumerate(zip(self.labels, self.areas, strict=True)):
            mask = self.owner == index
            self.semantic[mask] = label + 1
            instances.append(Instance(label, mask, float(visible[index]) / area))
        return Scene(image, instances, self.semantic)


def _ground_value(kind: str) -> int:
    return SEMANTIC_CLASSES.index(kind) + 1 if kind in PATTERNS else 0


def _random_colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(30, 225, size=3).astype(np.float32)


def _ground_colour(rng: np.random.Generator) -> np.ndarray:
    """Duller than a shape's, as in photographs."""
    colour = _random_colour(rng)
    return colour.mean() + 0.5 * (colour - colour.mean())


def _paint(rng: np.random.Generator, kind: str, colour: np.ndarray, height: int, width: int) -> np.ndarray:
    """A texture around a colour: float32 (height, width, 3)."""
    accent = rng.standard_normal(3, dtype=np.float32)
    accent *= rng.uniform(*_ACCENT) / max(float(np.linalg.norm(accent)), 1e-6)
    return colour + texture_field(rng, kind, height, width)[..., None] * accent
