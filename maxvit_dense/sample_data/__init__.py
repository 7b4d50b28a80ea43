"""A small data set drawn by the project: no download, exact annotations, the same bytes from the same seed.

Scenes hold 1 to 5 overlapping shapes on textured backgrounds and are written in COCO and ADE20K layouts;
pictures of one shape each are written as ImageFolder class folders. The package needs numpy and Pillow only.
"""

from .polygons import mask_to_polygons
from .scene import MIN_CONTRAST, MIN_VISIBLE, SEMANTIC_CLASSES, Instance, Scene, draw_scene, draw_single
from .shapes import CLASSES
from .writer import Parameters, SampleDataConflict, write_sample_data

__all__ = [
    "CLASSES",
    "MIN_CONTRAST",
    "MIN_VISIBLE",
    "SEMANTIC_CLASSES",
    "Instance",
    "Parameters",
    "SampleDataConflict",
    "Scene",
    "draw_scene",
    "draw_single",
    "mask_to_polygons",
    "write_sample_data",
]
