"""What a training run shows of itself in its work dir: ``curves.png``, ``worst.jpg`` and ``report.html``."""

from .curves import CurvesHook
from .hook import ReportHook

__all__ = ["CurvesHook", "ReportHook"]
