"""What runs of mmengine's Runner leave in their work dir; read without mmengine.

``last_checkpoint`` holds the path of the newest checkpoint. Its LocalVisBackend writes
``<start of the run>/vis_data/scalars.json``, one JSON object a line. A line of training has ``iter``; one of validation
has only ``step``, which counts epochs or iterations as the LoggerHook is set.
"""

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

LAST_CHECKPOINT = "last_checkpoint"

Scalars = Mapping[str, float]


def last_checkpoint(work_dir: Path | str) -> Path | None:
    """The newest checkpoint, if the work dir's record names one; it may be gone.

    The record may name the place that the work dir was moved from.
    """
    try:
        path = Path((Path(work_dir) / LAST_CHECKPOINT).read_text(encoding="utf-8").strip())
    except (OSError, ValueError):  # none, or damaged
        return None
    if not path.name or "\0" in str(path):
        return None
    return path if os.path.exists(path) else Path(work_dir) / path.name


def kept(work_dir: Path | str) -> str:
    """What is left of a run that ended early, for its message."""
    last = last_checkpoint(work_dir)
    return f"the last good checkpoint is {last}" if last else "no checkpoint was written yet"


def run_logs(work_dir: Path) -> list[list[Scalars]]:
    """The lines of each run in a work dir, in the order of their starts: numbers by name."""
    return [list(_lines(path)) for path in sorted(work_dir.glob("*/vis_data/scalars.json"))]


def is_training(line: Scalars) -> bool:
    return "iter" in line


def _lines(path: Path) -> Iterator[Scalars]:
    for text in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # the end of a run that was killed, or of a full disk
            continue
        if isinstance(line, dict):
            yield {k: v for k, v in line.items() if isinstance(v, int | float) and not isinstance(v, bool)}
