"""What a finished run of mmengine's Runner says of itself: in its checkpoint, and in the logs beside that."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from ..work_dir import is_training, run_logs

_TIME = re.compile(r"_?\d{8}_\d{6}$")
# What a Runner logs beside the metrics of an evaluation.
_NOT_METRICS = {"step", "time", "data_time"}


@dataclass(frozen=True)
class RunRecord:
    """What is known of a run; None where it says nothing.

    Attributes:
        config: name of its config file, without ".py".
        config_sha256: of the whole config as text, bases and command line merged in.
        epoch, iter: finished when the checkpoint was written.
        metric: figures of the evaluation right after that.
        software: commit and versions that it trained with.
        facts: what ``openmmlab.inference.run_facts`` wrote into the checkpoint; empty if something else wrote that.
    """

    config: str | None = None
    config_sha256: str | None = None
    epoch: int | None = None
    iter: int | None = None
    metric: dict[str, float] | None = None
    software: dict[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...] | None:
        names = self.facts.get("classes")
        return None if names is None else tuple(names)


def is_run(checkpoint: Mapping[str, Any]) -> bool:
    """Whether ``read_checkpoint`` returned a Runner's checkpoint."""
    return isinstance(checkpoint.get("meta"), Mapping) and isinstance(checkpoint["meta"].get("cfg"), str)


def read_run(checkpoint: Mapping[str, Any], path: Path) -> RunRecord:
    """What a Runner's checkpoint and the logs beside it tell of the run.

    Args:
        checkpoint: what ``read_checkpoint`` returned, with ``is_run``.
        path: its file; the logs are looked for in that folder.
    """
    meta = checkpoint["meta"]
    facts = meta.get("maxvit_dense")
    facts = facts if isinstance(facts, Mapping) else {}
    epoch, evaluated = _progress(checkpoint, facts)
    return RunRecord(
        config=_TIME.sub("", str(meta.get("experiment_name", ""))) or None,
        config_sha256=hashlib.sha256(meta["cfg"].encode()).hexdigest(),
        epoch=epoch,
        iter=meta.get("iter"),
        metric=None if evaluated is None else _metric(path.parent, evaluated),
        software=meta.get("software"),
        facts=facts,
    )


def _progress(checkpoint: Mapping[str, Any], facts: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Epochs that were finished, and the step under which an evaluation at that point is logged, if any is.

    A checkpoint saved by iterations counts the epoch under way, even after its last one, as not finished.
    """
    meta = checkpoint["meta"]
    if facts.get("metric_step") == "iter":
        return meta.get("epoch"), meta.get("iter")
    plan = (checkpoint.get("message_hub") or {}).get("runtime_info") or {}
    epochs, iters, done = plan.get("max_epochs"), plan.get("max_iters"), meta.get("iter")
    if not (epochs and iters and isinstance(done, int)):
        return meta.get("epoch"), meta.get("epoch")
    finished, more = divmod(done, iters // epochs)
    return finished, finished if more == 0 else None


def _metric(work_dir: Path, step: Any) -> dict[str, float] | None:
    """The last evaluation at a step (epoch, or iteration) in the logs of a work dir's runs, resumed ones too."""
    found = None
    for line in chain.from_iterable(run_logs(work_dir)):
        if not is_training(line) and line.get("step") == step:
            found = {name: value for name, value in line.items() if name not in _NOT_METRICS} or found
    return found
