"""What a run of mmengine's Runner logged; read without mmengine.

Its LocalVisBackend writes ``<work dir>/<start of the run>/vis_data/scalars.json``, one JSON object a line. A line of
training has ``iter``; one of validation has only ``step``, which counts epochs or iterations as the LoggerHook is set.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

Scalars = Mapping[str, float]


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
