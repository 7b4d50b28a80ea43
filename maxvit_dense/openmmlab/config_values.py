"""Values of a config held against what can work, before anything is built of them.

What a part's own constructor refuses is found by ``rehearsal``; here is what constructors take and fail on hours later,
or never mention, and what would break on the way to them.
"""

import difflib
import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from mmengine.config import Config
from mmengine.registry import (
    DATA_SAMPLERS,
    DATASETS,
    EVALUATOR,
    HOOKS,
    LOG_PROCESSORS,
    LOOPS,
    METRICS,
    OPTIM_WRAPPERS,
    OPTIMIZERS,
    PARAM_SCHEDULERS,
    TRANSFORMS,
    VISBACKENDS,
    VISUALIZERS,
    DefaultScope,
    Registry,
)
from mmengine.runner import Runner

from ..errors import InputError, listed

_LONGEST = 80  # characters of a value in a message
_Check = Callable[[Any], bool]


def _is_number(value: Any, least: float = -math.inf, most: float = math.inf, below: float = math.inf) -> bool:
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_finite and least <= value <= most and value < below


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def _is_listing(value: Any) -> bool:
    return isinstance(value, list | tuple)


def whole(least: int, most: float = math.inf) -> tuple[_Check, str]:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_whole(value, least, most), f"a whole number from {least}{to}"


def number(least: float, most: float = math.inf) -> tuple[_Check, str]:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, least, most), f"a number from {least}{to}"


def interval() -> tuple[_Check, str]:
    return lambda value: _is_whole(value, 1) or value == -1, "a whole number from 1, or -1 for never"


def kept() -> tuple[_Check, str]:
    return lambda value: _is_whole(value, 1) or value == -1, "a whole number from 1, or -1 for all"


def positive(most: float = math.inf) -> tuple[_Check, str]:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, 0, most) and value > 0, f"a number above 0{to}"


def share() -> tuple[_Check, str]:
    return lambda value: _is_number(value, 0, below=1), "a number from 0 to below 1"


def flag() -> tuple[_Check, str]:
    return lambda value: isinstance(value, bool), "True or False"


def text() -> tuple[_Check, str]:
    return lambda value: isinstance(value, str) and "\0" not in value, "text"


def one_of(*words: str) -> tuple[_Check, str]:
    return lambda value: value in words, f"one of {', '.join(words)}"


def mapping() -> tuple[_Check, str]:
    return lambda value: isinstance(value, Mapping), "a dict"


def mappings(single: bool = False) -> tuple[_Check, str]:
    """Of a list of dictionaries; on the command line one without quotes arrives as texts."""

    def check(value: Any) -> bool:
        return (single and isinstance(value, Mapping)) or (
            _is_listing(value) and all(isinstance(item, Mapping) for item in value)
        )

    either = "a dict or " if single else ""
    return check, f'{either}a list of dicts; on the command line in quotes, "[dict(type=...)]"'


def numbers(check: _Check, words: str) -> tuple[_Check, str]:
    return lambda value: _is_listing(value) and bool(value) and all(map(check, value)), f"a list of {words}"


def scales() -> tuple[_Check, str]:
    """(W, H) in pixels of OpenMMLab's transforms, one or several."""

    def is_scale(value: Any) -> bool:
        return _is_whole(value, 1) or (_is_listing(value) and len(value) == 2 and all(_is_whole(v, 1) for v in value))

    return (
        lambda value: is_scale(value) or (_is_listing(value) and bool(value) and all(map(is_scale, value))),
        "(width, height) in whole pixels from 1, or a list of such",
    )


def span(most: float) -> tuple[_Check, str]:
    def check(value: Any) -> bool:
        is_pair = _is_listing(value) and len(value) == 2 and all(_is_number(v, 0, most) and v > 0 for v in value)
        return is_pair and value[0] <= value[1]

    return check, f"two numbers above 0 to {most:g}, the smaller first"


def only(*keys: str) -> tuple[_Check, str]:
    return (
        lambda value: isinstance(value, Mapping) and set(value) <= set(keys),
        f"a dict of {', '.join(keys)}",
    )


def optional(rule: tuple[_Check, str]) -> tuple[_Check, str]:
    check, words = rule
    return lambda value: value is None or check(value), f"{words}, or None"


# Pattern of the dotted key (* is one part of it, ** any number of parts), and what may stand there.
RULES: tuple[tuple[str, tuple[_Check, str]], ...] = (
    ("model", mapping()),
    ("model.**.drop_path_rate", share()),
    ("model.**.drop_rate", share()),
    ("model.**.label_smoothing", share()),
    ("model.**.num_classes", whole(0)),
    ("model.*_head.channels", whole(1)),
    ("model.data_preprocessor.mixup.*_alpha", number(0)),
    ("model.**.data_preprocessor", mapping()),
    ("model.**.init_cfg", optional(mappings(single=True))),
    ("**.std", optional(numbers(lambda v: _is_number(v, 0) and v > 0, "numbers above 0"))),
    ("**.mean", optional(numbers(_is_number, "numbers"))),
    ("model.**.norm_eval", flag()),
    ("*_dataloader", optional(mapping())),
    ("*_dataloader.batch_size", whole(1)),
    ("*_dataloader.num_workers", whole(0, 1024)),
    ("*_dataloader.prefetch_factor", optional(whole(1))),
    ("*_dataloader.persistent_workers", flag()),
    ("*_dataloader.pin_memory", flag()),
    ("*_dataloader.drop_last", flag()),
    ("*_dataloader.dataset", mapping()),
    ("*_dataloader.sampler", mapping()),
    ("*_dataloader.batch_sampler", optional(mapping())),
    ("*_dataloader.**.dataset", mapping()),
    ("*_dataloader.**.datasets", mappings()),
    ("*_dataloader.**.pipeline", mappings()),
    ("*_dataloader.**.pipeline.**.scale", optional(scales())),
    ("*_dataloader.**.data_root", optional(text())),
    ("*_dataloader.**.ann_file", optional(text())),
    ("*_dataloader.**.data_prefix", optional(mapping())),
    ("*_dataloader.**.metainfo", optional(mapping())),
    ("*_dataloader.dataset.transform", mapping()),
    ("*_dataloader.dataset.transform.crop_pct", optional(positive(2))),
    ("*_dataloader.dataset.transform.scale", optional(span(1))),
    ("*_dataloader.dataset.transform.ratio", optional(span(100))),
    ("*_evaluator", optional(mappings(single=True))),
    ("optim_wrapper", mapping()),
    ("optim_wrapper.optimizer", mapping()),
    ("optim_wrapper.optimizer.lr", number(0)),
    ("optim_wrapper.optimizer.weight_decay", number(0)),
    ("optim_wrapper.optimizer.momentum", share()),
    ("optim_wrapper.optimizer.betas", numbers(lambda v: _is_number(v, 0, below=1), "numbers from 0 to below 1")),
    ("optim_wrapper.clip_grad", optional(only("type", "max_norm", "norm_type", "error_if_nonfinite", "clip_value"))),
    ("optim_wrapper.clip_grad.max_norm", positive()),
    ("optim_wrapper.accumulative_counts", whole(1)),
    ("optim_wrapper.paramwise_cfg", optional(mapping())),
    ("param_scheduler", optional(mappings(single=True))),
    ("param_scheduler.*.begin", number(0)),
    ("train_cfg", mapping()),
    ("train_cfg.max_epochs", whole(1)),
    ("train_cfg.max_iters", whole(1)),
    ("train_cfg.val_interval", whole(1)),
    ("train_cfg.val_begin", whole(0)),
    ("val_cfg", optional(mapping())),
    ("test_cfg", optional(mapping())),
    ("default_hooks", optional(mapping())),
    ("default_hooks.*", optional(mapping())),
    ("custom_hooks", optional(mappings())),
    ("default_hooks.*.interval", interval()),
    ("custom_hooks.*.interval", interval()),
    ("default_hooks.checkpoint.max_keep_ckpts", kept()),
    ("randomness", mapping()),
    ("randomness.seed", optional(whole(0, 2**32 - 1))),
    ("randomness.deterministic", flag()),
    ("randomness.diff_rank_seed", flag()),
    ("resume", flag()),
    ("load_from", optional(text())),
    ("work_dir", optional(text())),
    ("total_batch_size", optional(whole(1))),
    ("auto_scale_lr", optional(mapping())),
    ("auto_scale_lr.base_batch_size", number(0)),
    ("auto_scale_lr.enable", flag()),
    ("env_cfg", mapping()),
    ("env_cfg.mp_cfg", mapping()),
    ("env_cfg.dist_cfg", mapping()),
    ("env_cfg.mp_cfg.mp_start_method", one_of("fork", "spawn", "forkserver")),
    ("log_level", one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    ("log_processor", optional(mapping())),
    ("visualizer", optional(mapping())),
    ("visualizer.vis_backends", optional(mappings())),
    ("runner_type", one_of("Runner", "FlexibleRunner")),
    ("default_scope", optional(text())),
    ("custom_imports", optional(mapping())),
    ("experiment_name", optional(text())),
)

# Where a registered type is named, and where it is registered.
_TYPES: tuple[tuple[str, tuple[Registry, ...]], ...] = (
    ("*_dataloader.**.dataset", (DATASETS,)),
    ("*_dataloader.**.datasets.*", (DATASETS,)),
    ("*_dataloader.**.pipeline.*", (TRANSFORMS,)),
    ("*_dataloader.sampler", (DATA_SAMPLERS,)),
    ("*_dataloader.batch_sampler", (DATA_SAMPLERS,)),
    ("*_evaluator", (METRICS, EVALUATOR)),
    ("*_evaluator.*", (METRICS, EVALUATOR)),
    ("optim_wrapper", (OPTIM_WRAPPERS,)),
    ("optim_wrapper.optimizer", (OPTIMIZERS,)),
    ("param_scheduler", (PARAM_SCHEDULERS,)),
    ("param_scheduler.*", (PARAM_SCHEDULERS,)),
    ("train_cfg", (LOOPS,)),
    ("val_cfg", (LOOPS,)),
    ("test_cfg", (LOOPS,)),
    ("default_hooks.*", (HOOKS,)),
    ("custom_hooks.*", (HOOKS,)),
    ("log_processor", (LOG_PROCESSORS,)),
    ("visualizer", (VISUALIZERS,)),
    ("visualizer.vis_backends.*", (VISBACKENDS,)),
)

# Entries that are read where they stand, besides the Runner's arguments.
_READ = {"custom_imports", "default_scope", "total_batch_size", "sync_bn", "strategy", "runner_type", "compile"} | {
    "find_unused_parameters",
    "model_wrapper_cfg",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
    "tta_model",
    "tta_pipeline",
    "tta_cfg",
}


def entries(node: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each entry of a config that a pattern of ``RULES`` names."""
    yield from _entries(node, pattern.split("."), ())


def _entries(node: Any, parts: list[str], key: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield ".".join(key), node
        return
    if parts[0] == "**":
        yield from _entries(node, parts[1:], key)
    for name, child in _children(node):
        if parts[0] == "**":
            yield from _entries(child, parts, (*key, name))
        elif fnmatchcase(name, parts[0]):
            yield from _entries(child, parts[1:], (*key, name))


def _children(node: Any) -> list[tuple[str, Any]]:
    if isinstance(node, Mapping):
        return [(str(name), child) for name, child in node.items()]
    return [(str(i), child) for i, child in enumerate(node)] if _is_listing(node) else []


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    words = repr(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def check_values(cfg: Config, overrides: Mapping[str, Any] | None, before: Iterable[str]) -> None:
    """Hold a config's values against ``RULES`` and the registries.

    Args:
        cfg: with ``overrides`` merged in.
        overrides: entries of the command line, by dotted name.
        before: names of the entries that the config had without them.

    Raises:
        InputError: naming each entry, what it is and what it may be; an entry of the command line that nothing reads;
            a text with a zero byte; a type that is not registered.
    """
    content = dict(cfg.items())
    faults = list(_unread(overrides or {}, set(before)))
    for pattern, (check, words) in RULES:
        faults += [
            f"{key} is {shown(value)}: give {words}" for key, value in entries(content, pattern) if not check(value)
        ]
    texts = ((key, value) for key, value in entries(content, "**") if isinstance(value, str))
    faults += [f"{key} has a zero byte in it" for key, value in texts if "\0" in value]
    if not faults:
        with DefaultScope.overwrite_default_scope(cfg.get("default_scope")):
            faults += _unknown_types(content, cfg.get("default_scope"))
    if faults:
        raise InputError(f"The config cannot be used: {listed(dict.fromkeys(faults))}.")


def _unread(overrides: Mapping[str, Any], before: set[str]) -> Iterator[str]:
    known = before | set(inspect.signature(Runner.__init__).parameters) | _READ
    for key in overrides:
        name = key.partition(".")[0]
        if name not in known:
            yield f"nothing reads an entry {name}{is_it(name, known)}"


def is_it(name: str, known: Iterable[str]) -> str:
    """" (is it X?)" for a message, of the known names that are near; empty if none is."""
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    return f" (is it {listed(near)}?)" if near else ""


def _unknown_types(content: Mapping[str, Any], scope: str | None) -> Iterator[str]:
    for pattern, registries in _TYPES:
        for key, entry in entries(content, pattern):
            if not isinstance(entry, Mapping) or "type" not in entry or callable(entry["type"]):
                continue
            name = entry["type"]
            if not isinstance(name, str):
                yield f"{key}.type is {shown(name)}: give the name of a registered type"
            elif not any(_registered(registry, name, scope) for registry in registries):
                yield f"{key}.type is {name!r}, which is not registered{_near(registries, name, scope)}"


def _registered(registry: Registry, name: str, scope: str | None) -> bool:
    try:
        with registry.switch_scope_and_registry(scope) as chosen:
            return chosen.get(name) is not None
    except (ImportError, AttributeError, KeyError, ValueError):  # "a.b" is looked for as a module
        return False


def _near(registries: Iterable[Registry], name: str, scope: str | None) -> str:
    names: set[str] = set()
    for registry in registries:
        with registry.switch_scope_and_registry(scope) as chosen:
            names |= set(registry.module_dict) | set(chosen.module_dict)
    near = difflib.get_close_matches(name, names, cutoff=0.5)
    found = f"near it are {listed(near)}" if near else f"there are {listed(sorted(names), 8)}"
    return f"; {found} (default_scope {scope!r})"
