"""Scenes: shapes on textured ground, with the exact visible mask of every shape and a semantic map."""

from dataclasses import dataclass, field

import numpy as np

from .drawing import CLASSES, PATTERNS, PLAIN, TEXTURES, shape_coverage, texture

SEMANTIC_CLASSES = CLASSES + PATTERNS  # label value 1, 2, ...; plain ground is 0, unlabelled

MIN_VISIBLE = 0.4  # share of a shape's whole area that occlusion and the image border leave
MIN_CONTRAST = 80.0  # RGB distance between a shape's colour and every colour it borders on
_MAX_OBJECTS = 5
_OBJECT_SIZE = (0.22, 0.5)  # diameter over the image's shorter side
_SINGLE_SIZE = (0.5, 0.9)
_ACCENT = (22.0, 34.0)  # RGB length of a texture's swing; two of them stay below MIN_CONTRAST
_TRIES = 30  # placements tried before a shape is left out


@dataclass(frozen=True)
class Instance:
    """One shape: its class (index into CLASSES) and visible mask, bool (H, W)."""

    label: int
    mask: np.ndarray
    visible_share: float  # of the whole shape's pixels

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight box of the mask: left, top, width, height in pixels."""
        rows, columns = np.flatnonzero(self.mask.any(axis=1)), np.flatnonzero(self.mask.any(axis=0))
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

    Every instance keeps at least MIN_VISIBLE of its area in sight: a shape that cannot be placed so is not drawn at
    all, so nothing in the picture goes unlabelled.
    """
    labels = rng.integers(len(CLASSES), size=rng.integers(1, _MAX_OBJECTS + 1)).tolist()
    return _draw(rng, height, width, labels, _OBJECT_SIZE, inset=0.5)


def draw_single(rng: np.random.Generator, height: int, width: int, label: int) -> Scene:
    """A picture of one whole shape of class CLASSES[label], for classification."""
    return _draw(rng, height, width, [label], _SINGLE_SIZE, inset=1.0)


@dataclass
class _Canvas:
    """A picture in the making."""

    image: np.ndarray  # float32 (H, W, 3)
    semantic: np.ndarray  # of the ground
    ground_colours: list[np.ndarray]
    owner: np.ndarray  # (H, W): which shape is seen; -1: the ground
    shapes: list[tuple[int, int, np.ndarray]] = field(default_factory=list)  # label, whole area in pixels, colour

    def areas(self, owner: np.ndarray) -> np.ndarray:
        """Pixels of each shape."""
        return np.bincount(owner.ravel() + 1, minlength=len(self.shapes) + 1)[1:]


def _draw(
    rng: np.random.Generator, height: int, width: int, labels: list[int], sizes: tuple[float, float], inset: float
) -> Scene:
    """Ground, shapes, then light and grain over everything.

    Args:
        sizes: least and greatest diameter of a shape over the shorter side.
        inset: how many radii its centre stays away from the border.
    """
    canvas = _lay_ground(rng, height, width)
    for label in labels:
        for _ in range(_TRIES):
            radius = rng.uniform(*sizes) * min(height, width) / 2
            x, y = (rng.uniform(inset * radius, side - inset * radius) for side in (width, height))
            if _add(rng, canvas, label, *shape_coverage(CLASSES[label], x, y, radius, rng.uniform(0, 2 * np.pi))):
                break
    light = 1 + 0.15 * texture(rng, PLAIN, height, width)
    grain = 4 * rng.standard_normal((height, width, 3), dtype=np.float32)
    image = np.clip(canvas.image * light[..., None] + grain, 0, 255).round().astype(np.uint8)
    instances = []
    for index, (label, whole, _) in enumerate(canvas.shapes):
        mask = canvas.owner == index
        canvas.semantic[mask] = label + 1
        instances.append(Instance(label, mask, float(mask.sum()) / whole))
    return Scene(image, instances, canvas.semantic)


def _lay_ground(rng: np.random.Generator, height: int, width: int) -> _Canvas:
    """One texture, or two that meet along a wavy line."""
    first, second = rng.permutation(TEXTURES)[:2].tolist()
    colours = [_ground_colour(rng), _ground_colour(rng)][: rng.integers(1, 3)]
    image = _paint(rng, first, colours[0], height, width)
    semantic = np.full((height, width), _ground_value(first), dtype=np.uint8)
    if len(colours) == 2:
        beyond = texture(rng, PLAIN, height, width) + 0.2 * texture(rng, "cloud", height, width) > 0
        image[beyond] = _paint(rng, second, colours[1], height, width)[beyond]
        semantic[beyond] = _ground_value(second)
    return _Canvas(image, semantic, colours, owner=np.full((height, width), -1))


def _add(rng: np.random.Generator, canvas: _Canvas, label: int, patch: np.ndarray, left: int, top: int) -> bool:
    """Put a shape on top, unless too little of it or of another would be seen, or no colour stands out; whether done.

    Args:
        patch: coverage (n, n) of the shape's pixels, from ``left`` and ``top`` on, which may lie outside.
    """
    height, width = canvas.owner.shape
    whole = int((patch >= 0.5).sum())
    window = slice(max(0, top), min(height, top + len(patch))), slice(max(0, left), min(width, left + len(patch)))
    patch = patch[window[0].start - top : window[0].stop - top, window[1].start - left : window[1].stop - left]
    seen = patch >= 0.5
    owner = canvas.owner.copy()
    owner[window][seen] = -1
    least = [max(1, MIN_VISIBLE * area) for _, area, _ in canvas.shapes]
    if seen.sum() < max(1, MIN_VISIBLE * whole) or (canvas.areas(owner) < least).any():
        return False
    near = [canvas.shapes[i][2] for i in np.unique(canvas.owner[window]) if i >= 0]
    colour = _contrasting_colour(rng, canvas.ground_colours + near)
    if colour is None:
        return False
    painted = _paint(rng, rng.choice(TEXTURES), colour, *patch.shape)
    canvas.image[window] += patch[..., None] * (painted - canvas.image[window])
    canvas.owner[window][seen] = len(canvas.shapes)
    canvas.shapes.append((label, whole, colour))
    return True


def _contrasting_colour(rng: np.random.Generator, taken: list[np.ndarray]) -> np.ndarray | None:
    """A colour at least MIN_CONTRAST from those taken, if 50 draws find one."""
    colours = (_random_colour(rng) for _ in range(50))
    return next((c for c in colours if np.linalg.norm(np.stack(taken) - c, axis=1).min() >= MIN_CONTRAST), None)


def _ground_value(kind: str) -> int:
    return SEMANTIC_CLASSES.index(kind) + 1 if kind in PATTERNS else 0


def _random_colour(rng: np.random.Generator) -> np.ndarray:
    return rng.uniform(30, 225, size=3).astype(np.float32)


def _ground_colour(rng: np.random.Generator) -> np.ndarray:
    """Duller than a shape's, as in photographs."""
    colour = _random_colour(rng)
    return (colour + colour.mean()) / 2


def _paint(rng: np.random.Generator, kind: str, colour: np.ndarray, height: int, width: int) -> np.ndarray:
    """A texture around a colour: float32 (height, width, 3)."""
    accent = rng.standard_normal(3, dtype=np.float32)
    accent *= rng.uniform(*_ACCENT) / max(float(np.linalg.norm(accent)), 1e-6)
    return colour + texture(rng, kind, height, width)[..., None] * accent
