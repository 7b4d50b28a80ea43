"""A small data set drawn by the project: no download, exact annotations, the same bytes from the same seed.

Scenes hold 1 to 5 overlapping shapes on textured grounds and are written in COCO and ADE20K layouts; pictures of one
shape each are written as ImageFolder class folders.
"""

from .drawing import CLASSES, mask_to_polygons
from .scene import MIN_CONTRAST, MIN_VISIBLE, SEMANTIC_CLASSES, Instance, Scene, draw_scene, draw_single
from .writer import write_sample_data

__all__ = [
    "CLASSES",
    "MIN_CONTRAST",
    "MIN_VISIBLE",
    "SEMANTIC_CLASSES",
    "Instance",
    "Scene",
    "draw_scene",
    "draw_single",
    "mask_to_polygons",
    "write_sample_data",
]
