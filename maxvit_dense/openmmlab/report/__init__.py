"""What a training run shows of its last evaluation: ``worst.jpg`` and ``report.html`` in its work dir."""

from .hook import ReportHook

__all__ = ["ReportHook"]
