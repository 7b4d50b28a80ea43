"""Texture fields: what fills backgrounds and shapes. A field holds values in -1...1, one a pixel."""

import math

import numpy as np
from PIL import Image

PLAIN = "plain"
PATTERNS = ("cloud", "stripes", "checker", "dots")
KINDS = (PLAIN, *PATTERNS)

MIN_PERIOD = 5.0  # pixels; a finer pattern would not survive JPEG


def texture_field(rng: np.random.Generator, kind: str, height: int, width: int) -> np.ndarray:
    """A random texture of one of KINDS: float32 (height, width) within -1...1."""
    if kind == "cloud":
        return _cloud(rng, height, width)
    angle, shift = rng.uniform(0, 2 * math.pi), (rng.random(), rng.random())
    if kind == PLAIN:
        u, _ = _turned_grid(height, width, angle, period=1.0, shift=(0.0, 0.0))
        return u / max(float(np.abs(u).max()), 1.0)
    period = max(MIN_PERIOD, rng.uniform(0.06, 0.14) * min(height, width))
    u, v = _turned_grid(height, width, angle, period, shift)
    if kind == "stripes":
        return _soft_steps(u)
    if kind == "checker":
        return _soft_steps(u / 2) * _soft_steps(v / 2)
    if kind == "dots":
        to_dot = np.hypot(u - np.floor(u) - 0.5, v - np.floor(v) - 0.5)
        return np.clip((0.3 - to_dot) * period, -1, 1)
    raise ValueError(f"unknown texture {kind!r}; there are {', '.join(KINDS)}")


def _turned_grid(
    height: int, width: int, angle: float, period: float, shift: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across a direction, in periods, the image's centre at `shift`."""
    y = (np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2) / period
    x = (np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2) / period
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin + shift[0], y * cos - x * sin + shift[1]


def _soft_steps(phase: np.ndarray) -> np.ndarray:
    """A square wave of period 1 with sloping flanks."""
    return np.clip(3 * np.sin(2 * math.pi * phase), -1, 1)


def _cloud(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Noise of several scales, each half as coarse and 0.6 times as strong as the one before."""
    field = np.zeros((height, width), dtype=np.float32)
    strength, cells = 1.0, 3
    while cells <= max(4, min(height, width) // 4):
        coarse = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
        field += strength * np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
        strength, cells = strength * 0.6, cells * 2
    field -= field.mean()
    return np.clip(field / max(1.5 * float(field.std()), 1e-6), -1, 1)
