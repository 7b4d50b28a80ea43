"""What a finished run of mmengine's Runner says of itself: in its checkpoint, and in its work dir beside that.

Everything is read as data. The config in a checkpoint is Python text, but the file may come from anyone, so its
literals are read and nothing is run.
"""

import ast
import hashlib
import re
from collections.abc import Iterator, Mapping
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
        data: name of the data root.
        epoch, iter: finished when the checkpoint was written.
        metric: figures of the evaluation right after that.
        classes: names.
        mean, std: of the normalisation, in units of images from 0 to 1.
        window_size: of the backbone: int, pair or "ratio".
        input_size: image side in pixels that a classifier is evaluated at.
        software: commit and versions that it trained with.
        evaluation: timm's crop_pct, crop_mode and interpolation, of a classifier.
    """

    config: str | None = None
    config_sha256: str | None = None
    data: str | None = None
    epoch: int | None = None
    iter: int | None = None
    metric: dict[str, float] | None = None
    classes: tuple[str, ...] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    window_size: Any = None
    input_size: int | None = None
    software: dict[str, Any] | None = None
    evaluation: dict[str, Any] = field(default_factory=dict)


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
    text = meta["cfg"]
    cfg = read_literals(text)
    roots = _find(cfg.get("train_dataloader"), "data_root")
    validation = cfg.get("val_dataloader") or cfg.get("test_dataloader")
    normalisation = [cfg.get("data_preprocessor"), _get(cfg, "model", "data_preprocessor"), validation]
    if _get(cfg, "default_hooks", "logger", "log_metric_by_epoch") is False:
        epoch, evaluated = meta.get("epoch"), meta.get("iter")
    else:
        epoch, is_whole = _epochs(checkpoint)
        evaluated = epoch if is_whole else None
    classes = _get(meta, "dataset_meta", "classes")
    return RunRecord(
        config=_TIME.sub("", str(meta.get("experiment_name", ""))) or None,
        config_sha256=hashlib.sha256(text.encode()).hexdigest(),
        data=next((Path(root).name for root in roots if isinstance(root, str) and root), None),
        epoch=epoch,
        iter=meta.get("iter"),
        metric=None if evaluated is None else _metric(path.parent, evaluated),
        classes=tuple(map(str, classes)) if isinstance(classes, list | tuple) else None,
        mean=_unit(normalisation, "mean"),
        std=_unit(normalisation, "std"),
        window_size=_window_size(cfg.get("model")),
        software=meta.get("software"),
        input_size=next((side for side in _find(validation, "input_size") if isinstance(side, int)), None),
        evaluation={
            key: value
            for key in ("crop_pct", "crop_mode", "interpolation")
            for value in list(_find(validation, key))[:1]
        },
    )


def read_literals(text: str) -> dict[str, Any]:
    """Top-level values of a config's text as far as they are literals; entries that are not are left out."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError):
        return {}
    assigned = [n for n in tree.body if isinstance(n, ast.Assign) and isinstance(n.targets[0], ast.Name)]
    return {node.targets[0].id: _literal(node.value) for node in assigned}


def _literal(node: ast.expr) -> Any:
    """Value of an expression of literals, lists, tuples and dictionaries, dict(...) among them; else None."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
        return {entry.arg: _literal(entry.value) for entry in node.keywords if entry.arg}
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values, strict=True)
        return {key.value: _literal(value) for key, value in pairs if isinstance(key, ast.Constant)}
    if isinstance(node, ast.List | ast.Tuple):
        return [_literal(item) for item in node.elts]
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, RecursionError):
        return None


def _get(values: Any, *keys: str) -> Any:
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values


def _parts(values: Any) -> Iterator[Mapping[str, Any]]:
    """Each dictionary within nested dictionaries and lists, outer ones first."""
    if isinstance(values, Mapping):
        yield values
        values = list(values.values())
    if isinstance(values, list):
        for value in values:
            yield from _parts(value)


def _find(values: Any, key: str) -> Iterator[Any]:
    return (part[key] for part in _parts(values) if part.get(key) is not None)


def _epochs(checkpoint: Mapping[str, Any]) -> tuple[int | None, bool]:
    """Epochs that were finished, and whether no iteration of the next one was.

    A checkpoint saved by iterations counts the epoch under way, even after its last one, as not finished.
    """
    meta, plan = checkpoint["meta"], _get(checkpoint, "message_hub", "runtime_info") or {}
    epochs, iters, done = plan.get("max_epochs"), plan.get("max_iters"), meta.get("iter")
    if not (epochs and iters and isinstance(done, int)):
        return meta.get("epoch"), True
    finished, more = divmod(done, iters // epochs)
    return finished, more == 0


def _window_size(model: Any) -> Any:
    """Of the backbone of detectors, which has a default of its own, or of a classifier's network."""
    for part in _parts(model):
        if part.get("type") == "MaxViT":
            return part.get("window_size", 7)
    return next(_find(model, "window_size"), None)


def _unit(places: list[Any], key: str) -> tuple[float, ...] | None:
    """Mean or standard deviation for images from 0 to 1; mmengine's are for 0 to 255."""
    values = next((value for place in places for value in _find(place, key)), None)
    if not isinstance(values, list) or not values or not all(isinstance(v, int | float) for v in values):
        return None
    scale = 1 if max(values) <= 1 else 255
    return tuple(round(value / scale, 6) for value in values)


def _metric(work_dir: Path, step: Any) -> dict[str, float] | None:
    """The last evaluation at a step (epoch, or iteration) in the logs of a work dir's runs, resumed ones too."""
    found = None
    for line in chain.from_iterable(run_logs(work_dir)):
        if not is_training(line) and line.get("step") == step:
            found = {name: value for name, value in line.items() if name not in _NOT_METRICS} or found
    return found
