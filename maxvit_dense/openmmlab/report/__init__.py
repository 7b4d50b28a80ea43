"""What training and evaluation show: curves, the images with most mistakes, a page; pictures, predictions, metrics."""

from .curves import CurvesHook
from .hook import ReportHook

__all__ = ["CurvesHook", "ReportHook"]
