"""Values of a config held against what can work, before anything is built of them.

What a part's own constructor refuses is found by ``rehearsal``; here is what constructors take and fail on hours later,
or never mention, and what would break on the way to them: a table of values by their keys. ``config_parts`` adds what
the signatures of registered parts say.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from ..errors import InputError, listed
from .config_parts import children, entries, is_it, is_listing, shown, unknown_types, unread_keys, wrong_arguments

MOST = 10**9  # epochs or iterations
_Check = Callable[[Any], bool]
_Rule = tuple[_Check, str]


def _is_number(value: Any, least: float = -math.inf, most: float = math.inf, below: float = math.inf) -> bool:
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_finite and least <= value <= most and value < below


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def whole(least: int, most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_whole(value, least, most), f"a whole number from {least}{to}"


def number(least: float, most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, least, most), f"a number from {least}{to}"


def whole_or(meaning: str) -> _Rule:
    return lambda value: _is_whole(value, 1) or value == -1, f"a whole number from 1, or -1 for {meaning}"


def positive(most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, 0, most) and value > 0, f"a number above 0{to}"


def share() -> _Rule:
    return lambda value: _is_number(value, 0, below=1), "a number from 0 to below 1"


def flag() -> _Rule:
    return lambda value: isinstance(value, bool), "True or False"


def text() -> _Rule:
    return lambda value: isinstance(value, str) and "\0" not in value, "text"


def one_of(*words: str) -> _Rule:
    return lambda value: isinstance(value, str) and value in words, f"one of {', '.join(words)}"


def mapping() -> _Rule:
    return lambda value: isinstance(value, Mapping), "a dict"


def mappings(single: bool = False) -> _Rule:
    """Of a list of dictionaries; on the command line one without inner quotes arrives as texts."""

    def check(value: Any) -> bool:
        return (single and isinstance(value, Mapping)) or (
            is_listing(value) and all(isinstance(item, Mapping) for item in value)
        )

    either = "a dict or " if single else ""
    return check, f"{either}a list of dicts; on the command line with quotes inside too, \"[dict(type='...')]\""


def several(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: is_listing(value) and bool(value) and all(map(check, value)), f"a list, each {words}"


def alone_or_several(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: check(value) or several(rule)[0](value), f"{words}, or a list of such"


def scales() -> _Rule:
    """(W, H) of OpenMMLab's transforms, in pixels or relative to the image; one or several."""

    def is_scale(value: Any) -> bool:
        sides = value if is_listing(value) else (value, value)
        return len(sides) == 2 and all(_is_number(side, 0) and side > 0 for side in sides)

    return (
        lambda value: is_scale(value) or (is_listing(value) and bool(value) and all(map(is_scale, value))),
        "(width, height) above 0, or a list of such",
    )


def span(most: float) -> _Rule:
    def check(value: Any) -> bool:
        is_pair = is_listing(value) and len(value) == 2 and all(_is_number(v, 0, most) and v > 0 for v in value)
        return is_pair and value[0] <= value[1]

    return check, f"two numbers above 0 to {most:g}, the smaller first"


def only(*keys: str) -> _Rule:
    return lambda value: isinstance(value, Mapping) and set(value) <= set(keys), f"a dict of {', '.join(keys)}"


def template() -> _Rule:
    """Of a file's name with one {} for the number of the epoch or iteration."""

    def check(value: Any) -> bool:
        return isinstance(value, str) and value.count("{}") == 1 and not {"/", "\0"} & set(value)

    return check, "a file name with {} for the number"


def optional(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: value is None or check(value), f"{words}, or None"


_ANY = _is_number, "a number"
_PROBABILITY = number(0, 1)
_LOSS_SCALE = "a number from 0, 'dynamic' or a dict"

# Pattern of the dotted key (* is one part of it, ** any number of parts), and what may stand there. Types alone are not
# repeated here where a constructor's signature has them.
RULES: tuple[tuple[str, _Rule], ...] = (
    ("model.**.drop_path_rate", share()),
    ("model.**.drop_rate", share()),
    ("model.**.dropout_ratio", (lambda v: _is_number(v, below=1), "a number below 1")),
    ("model.**.label_smoothing", share()),
    ("model.**.loss_weight", alone_or_several(number(0))),
    ("model.**.loss_*", (lambda v: not is_listing(v) or bool(v), "a loss, or a list of such")),
    ("model.**.num_classes", whole(0)),
    ("model.*_head.channels", whole(1)),
    ("model.*_head.pool_scales", several(whole(1))),
    ("model.data_preprocessor.mixup.*_alpha", number(0)),
    ("model.data_preprocessor.mixup.*prob", _PROBABILITY),
    ("model.data_preprocessor.mixup.mode", one_of("batch", "pair", "elem")),
    ("model.data_preprocessor.random_erasing.probability", _PROBABILITY),
    ("model.**.data_preprocessor", mapping()),
    ("model.data_preprocessor.size", optional(scales())),
    ("model.**.init_cfg", optional(mappings(single=True))),
    ("model.train_cfg", optional(mapping())),
    ("model.test_cfg", optional(mapping())),
    ("model.test_cfg.mode", one_of("whole", "slide", "slide_flip")),
    ("model.test_cfg.crop_size", optional(scales())),
    ("model.test_cfg.stride", optional(scales())),
    ("**.data_preprocessor.std", optional(several(positive()))),
    ("**.data_preprocessor.mean", optional(several(_ANY))),
    ("*_dataloader.dataset.transform.std", several(positive())),
    ("*_dataloader.dataset.transform.mean", several(_ANY)),
    ("*_dataloader.batch_size", whole(1)),
    ("*_dataloader.num_workers", whole(0, 1024)),
    ("*_dataloader.prefetch_factor", optional(whole(1))),
    ("*_dataloader.timeout", number(0)),
    ("*_dataloader.sampler", mapping()),
    ("*_dataloader.batch_sampler", optional(mapping())),
    ("*_dataloader.**.dataset", mapping()),
    ("*_dataloader.**.datasets", mappings()),
    ("*_dataloader.**.pipeline", mappings()),
    ("*_dataloader.**.pipeline.**.scale", optional(scales())),
    ("*_dataloader.**.pipeline.**.crop_size", optional(alone_or_several(positive()))),
    ("*_dataloader.**.pipeline.**.cat_max_ratio", _PROBABILITY),
    ("*_dataloader.**.data_root", optional(text())),
    ("*_dataloader.**.ann_file", optional(text())),
    ("*_dataloader.**.data_prefix", optional(mapping())),
    ("*_dataloader.**.metainfo", optional(mapping())),
    ("*_dataloader.dataset.transform", mapping()),
    ("*_dataloader.dataset.transform.crop_pct", optional(positive(2))),
    ("*_dataloader.dataset.transform.crop_mode", one_of("center", "squash", "border")),
    ("*_dataloader.dataset.transform.scale", optional(span(1))),
    ("*_dataloader.dataset.transform.ratio", optional(span(100))),
    ("*_dataloader.dataset.transform.[hv]flip", _PROBABILITY),
    ("*_dataloader.dataset.transform.*prob", _PROBABILITY),
    ("*_dataloader.dataset.transform.color_jitter", optional(alone_or_several(number(0)))),
    ("*_evaluator", optional(mappings(single=True))),
    ("*_evaluator.**.iou_thrs", optional(alone_or_several(_PROBABILITY))),
    ("*_evaluator.**.iou_metrics", several(one_of("mIoU", "mDice", "mFscore"))),
    ("*_evaluator.**.collect_device", one_of("cpu", "gpu")),
    ("optim_wrapper.optimizer", mapping()),
    ("optim_wrapper.optimizer.lr", number(0)),
    ("optim_wrapper.optimizer.weight_decay", number(0)),
    ("optim_wrapper.optimizer.momentum", share()),
    ("optim_wrapper.optimizer.betas", several((lambda v: _is_number(v, 0, below=1), "a number from 0 to below 1"))),
    ("optim_wrapper.clip_grad", optional(only("type", "max_norm", "norm_type", "error_if_nonfinite", "clip_value"))),
    ("optim_wrapper.clip_grad.max_norm", positive()),
    ("optim_wrapper.clip_grad.norm_type", (lambda v: _is_number(v, 0) or v in (math.inf, "inf"), "a number from 0")),
    ("optim_wrapper.loss_scale", (lambda v: isinstance(v, Mapping) or v == "dynamic" or _is_number(v, 0), _LOSS_SCALE)),
    ("optim_wrapper.accumulative_counts", whole(1)),
    ("optim_wrapper.paramwise_cfg", optional(mapping())),
    ("optim_wrapper.paramwise_cfg.custom_keys", mapping()),
    ("optim_wrapper.paramwise_cfg.custom_keys.*", mapping()),
    ("param_scheduler", optional(mappings(single=True))),
    ("param_scheduler.*.begin", number(0)),
    ("param_scheduler.*.end", positive()),
    ("param_scheduler.*.T_max", optional(positive())),
    ("train_cfg.max_epochs", whole(1, MOST)),
    ("train_cfg.max_iters", whole(1, MOST)),
    ("train_cfg.val_interval", (lambda v: _is_number(v, 1) and v == int(v), "a whole number from 1")),
    ("train_cfg.val_begin", whole(0)),
    ("default_hooks.*", optional(mapping())),
    ("custom_hooks", optional(mappings())),
    ("default_hooks.*.interval", whole_or("never")),
    ("custom_hooks.*.interval", whole_or("never")),
    ("custom_hooks.*.momentum", _PROBABILITY),
    ("default_hooks.checkpoint.max_keep_ckpts", whole_or("all")),
    ("default_hooks.checkpoint.rule", optional(alone_or_several(one_of("greater", "less")))),
    ("default_hooks.checkpoint.filename_tmpl", optional(template())),
    ("randomness", only("seed", "diff_rank_seed", "deterministic")),
    ("randomness.seed", optional(whole(0, 2**32 - 1))),
    ("work_dir", optional(text())),
    ("total_batch_size", optional(whole(1))),
    ("auto_scale_lr", optional(only("enable", "base_batch_size"))),
    ("auto_scale_lr.base_batch_size", positive()),
    ("auto_scale_lr.enable", flag()),
    ("find_unused_parameters", flag()),
    ("env_cfg", only("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")),
    ("env_cfg.cudnn_benchmark", flag()),
    ("env_cfg.mp_cfg", only("mp_start_method", "opencv_num_threads")),
    ("env_cfg.mp_cfg.mp_start_method", one_of("fork", "spawn", "forkserver")),
    ("env_cfg.mp_cfg.opencv_num_threads", whole(0, 1024)),
    ("env_cfg.dist_cfg", only("backend", "timeout", "init_backend")),
    ("env_cfg.resource_limit", whole(1)),
    ("log_level", one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    ("log_processor.window_size", whole(1)),
    ("log_processor.num_digits", whole(0, 20)),
    ("visualizer.name", text()),
    ("visualizer.vis_backends", optional(mappings())),
    ("runner_type", one_of("Runner", "FlexibleRunner")),
    ("model_wrapper_cfg", optional(mapping())),
    ("strategy", optional(mapping())),
    ("sync_bn", optional(one_of("torch", "mmcv"))),
    ("compile", (lambda value: isinstance(value, bool | Mapping | None), "True, False or a dict")),
    ("tta_cfg", optional(mapping())),
    ("efficient_conv_bn_eval", optional(several(text()))),
    ("activation_checkpointing", optional(several(text()))),
    ("custom_imports", optional(only("imports", "allow_failed_imports"))),
    ("custom_imports.imports", (lambda v: not v or alone_or_several(text())[0](v), "names of modules")),
)

_ABSENT = object()
# What is put in the place of a name or a number and does the same with it.
_REPLACED = ("type", "base_batch_size", "sync_bn", "init_cfg", "init_cfg.head")

# Entries that are read where they stand, besides the Runner's arguments.
_READ = {"custom_imports", "default_scope", "total_batch_size", "sync_bn", "strategy", "runner_type", "compile"} | {
    "find_unused_parameters",
    "model_wrapper_cfg",
    "activation_checkpointing",
    "efficient_conv_bn_eval",
    "data_preprocessor",
    "tta_model",
    "tta_pipeline",
    "tta_cfg",
}


def check_values(cfg: Config, given: Iterable[str], new: Sequence[str]) -> None:
    """Hold a config's values against ``RULES`` and the registries.

    Args:
        cfg: with the entries of the command line merged in.
        given: dotted names of these.
        new: of those that it had not without them.

    Raises:
        InputError: naming each entry, what it is and what it may be; an entry of the command line that nothing reads;
            a text with a zero byte; a type that is not registered.
    """
    content = dict(cfg.items())
    scope = cfg.get("default_scope") if isinstance(cfg.get("default_scope"), str) else None
    has_preprocessor = isinstance(content["model"], Mapping) and "data_preprocessor" in content["model"]
    faults = dict(_unread(given, has_preprocessor))
    judged = set()  # by the table: some signatures' types are narrower than what works
    for pattern, (check, words) in RULES:
        for key, value in entries(content, pattern):
            judged.add(key)
            if not check(value):
                faults.setdefault(key, f"{key} is {shown(value)}: give {words}")
    for key, value in entries(content, "**"):
        if isinstance(value, str) and "\0" in value:
            faults.setdefault(key, f"{key} has a zero byte in it")
    with DefaultScope.overwrite_default_scope(scope):
        for key, said in wrong_arguments(content, scope):
            if key not in judged:
                faults.setdefault(key, said)
        if not faults:
            faults = dict(unknown_types(content, scope)) or dict(unread_keys(content, new, scope))
    if faults:
        raise InputError(f"The config cannot be used: {listed(faults.values())}.")


def check_phases(cfg: Config) -> None:
    """
    Raises:
        InputError: an evaluation lacks one of its three entries.
    """
    for phase in ("val", "test"):
        names = [f"{phase}_{part}" for part in ("dataloader", "cfg", "evaluator")]
        absent = [name for name in names if not cfg.get(name) and cfg.get(name) != {}]
        if absent and len(absent) < len(names):
            raise InputError(
                f"The config has no {' and no '.join(absent)}, but the rest of {', '.join(names)}. Give all three, or "
                "set all to None."
            )


def new_keys(before: Any, given: Any, key: str = "") -> Iterator[str]:
    """Dotted keys that entries of the command line bring into a config.

    Args:
        before: the config without them, or a part of it.
        given: what stands in its place.
    """
    for name, value in given.items() if isinstance(given, Mapping) else ():
        place, inner = f"{key}.{name}" if key else name, before
        for part in name.split("."):  # of overrides; an index in a list
            inner = dict(children(inner)).get(part, _ABSENT)
        if inner is _ABSENT and name != "_delete_":  # mmengine's word for a dictionary that replaces
            yield place
        else:
            yield from new_keys(inner, value, place)


def check_kept(cfg: Config, overrides: Mapping[str, Any] | None) -> None:
    """Refuse entries of the command line in whose place data, weights or other options have put something else.

    Raises:
        InputError: naming them.
    """
    content = dict(cfg.items())
    lost = [
        f"{key}={shown(value)} would be {shown(next(_found(content, key.split('.')), 'left out'))}"
        for key, value in (overrides or {}).items()
        if not key.endswith(_REPLACED)
        if not any(_holds(item, value) for item in _found(content, key.split(".")))
    ]
    if lost:
        raise InputError(
            f"Entries of the command line would be of no effect: {'; '.join(lost)}. Data, weights or other options "
            "decide it. Leave out one or the other."
        )


def _found(node: Any, parts: list[str]) -> Iterator[Any]:
    """What stands at a key: of a list, whose entries may have moved or be one that it stands for, in any of them."""
    if not parts:
        yield node
    for name, child in children(node) if parts else ():
        if is_listing(node):
            yield from _found(child, parts[parts[0].isdigit() :])
        elif name == parts[0]:
            yield from _found(child, parts[1:])


def _holds(found: Any, value: Any) -> bool:
    """Whether something is a value, or a dictionary or list with all that is in it."""
    if isinstance(value, Mapping):
        return isinstance(found, Mapping) and all(
            _holds(found.get(name), item) for name, item in value.items() if name not in ("type", "_delete_")
        )
    if is_listing(value):
        return is_listing(found) and all(any(_holds(item, wanted) for item in found) for wanted in value)
    return found == value


def _unread(given: Iterable[str], has_preprocessor: bool) -> Iterator[tuple[str, str]]:
    """Entries that nothing reads, as a config's own variables; launcher and cfg are never a config's to give."""
    known = (set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg", "launcher"}) | _READ
    known -= {"data_preprocessor"} if has_preprocessor else set()  # which is for models without
    for key in given:
        name = key.partition(".")[0]
        if name not in known:
            yield key, f"nothing reads an entry {name}{is_it(name, known)}"
