"""Values of a config held against what can work, before anything is built of them.

What a part's own constructor refuses is found by ``rehearsal``; here is what constructors take and fail on hours later,
or never mention, and what would break on the way to them: a table of values by their keys. ``config_parts`` adds what
the signatures of registered parts say.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from ..errors import InputError, listed
from .config_parts import entries, is_it, is_listing, shown, unknown_types, wrong_arguments

_MOST = 10**9  # epochs or iterations
_Check = Callable[[Any], bool]
_Rule = tuple[_Check, str]


def _is_number(value: Any, least: float = -math.inf, most: float = math.inf, below: float = math.inf) -> bool:
    is_finite = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return is_finite and least <= value <= most and value < below


def _is_whole(value: Any, least: int, most: float = math.inf) -> bool:
    return isinstance(value, int) and _is_number(value, least, most)


def _whole(least: int, most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_whole(value, least, most), f"a whole number from {least}{to}"


def _number(least: float, most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, least, most), f"a number from {least}{to}"


def _whole_or(meaning: str) -> _Rule:
    return lambda value: _is_whole(value, 1) or value == -1, f"a whole number from 1, or -1 for {meaning}"


def _positive(most: float = math.inf) -> _Rule:
    to = "" if most == math.inf else f" to {most}"
    return lambda value: _is_number(value, 0, most) and value > 0, f"a number above 0{to}"


def _share() -> _Rule:
    return lambda value: _is_number(value, 0, below=1), "a number from 0 to below 1"


def _flag() -> _Rule:
    return lambda value: isinstance(value, bool), "True or False"


def _text() -> _Rule:
    return lambda value: isinstance(value, str) and "\0" not in value, "text"


def _one_of(*words: str) -> _Rule:
    return lambda value: isinstance(value, str) and value in words, f"one of {', '.join(words)}"


def _mapping() -> _Rule:
    return lambda value: isinstance(value, Mapping), "a dict"


def _mappings(single: bool = False) -> _Rule:
    """Of a list of dictionaries; on the command line one without inner quotes arrives as texts."""

    def check(value: Any) -> bool:
        return (single and isinstance(value, Mapping)) or (
            is_listing(value) and all(isinstance(item, Mapping) for item in value)
        )

    either = "a dict or " if single else ""
    return check, f"{either}a list of dicts; on the command line with quotes inside too, \"[dict(type='...')]\""


def _several(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: is_listing(value) and bool(value) and all(map(check, value)), f"a list, each {words}"


def _alone_or_several(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: check(value) or _several(rule)[0](value), f"{words}, or a list of such"


def _scales() -> _Rule:
    """(W, H) of OpenMMLab's transforms, in pixels or relative to the image; one or several."""

    def is_scale(value: Any) -> bool:
        sides = value if is_listing(value) else (value, value)
        return len(sides) == 2 and all(_is_number(side, 0) and side > 0 for side in sides)

    return (
        lambda value: is_scale(value) or (is_listing(value) and bool(value) and all(map(is_scale, value))),
        "(width, height) above 0, or a list of such",
    )


def _span(most: float) -> _Rule:
    def check(value: Any) -> bool:
        is_pair = is_listing(value) and len(value) == 2 and all(_is_number(v, 0, most) and v > 0 for v in value)
        return is_pair and value[0] <= value[1]

    return check, f"two numbers above 0 to {most:g}, the smaller first"


def _only(*keys: str) -> _Rule:
    return lambda value: isinstance(value, Mapping) and set(value) <= set(keys), f"a dict of {', '.join(keys)}"


def _template() -> _Rule:
    """Of a file's name with one {} for the number of the epoch or iteration."""

    def check(value: Any) -> bool:
        return isinstance(value, str) and value.count("{}") == 1 and not {"/", "\0"} & set(value)

    return check, "a file name with {} for the number"


def _optional(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: value is None or check(value), f"{words}, or None"


_ANY = _is_number, "a number"
_PROBABILITY = _number(0, 1)
_LOSS_SCALE = "a number from 0, 'dynamic' or a dict"

# Pattern of the dotted key (* is one part of it, ** any number of parts), and what may stand there. Types alone are not
# repeated here where a constructor's signature has them.
_RULES: tuple[tuple[str, _Rule], ...] = (
    ("model.**.drop_path_rate", _share()),
    ("model.**.drop_rate", _share()),
    ("model.**.dropout_ratio", (lambda v: _is_number(v, below=1), "a number below 1")),
    ("model.**.label_smoothing", _share()),
    ("model.**.loss_weight", _alone_or_several(_number(0))),
    ("model.**.num_classes", _whole(0)),
    ("model.*_head.channels", _whole(1)),
    ("model.*_head.pool_scales", _several(_whole(1))),
    ("model.data_preprocessor.mixup.*_alpha", _number(0)),
    ("model.data_preprocessor.mixup.*prob", _PROBABILITY),
    ("model.data_preprocessor.mixup.mode", _one_of("batch", "pair", "elem")),
    ("model.data_preprocessor.random_erasing.probability", _PROBABILITY),
    ("model.**.data_preprocessor", _mapping()),
    ("model.data_preprocessor.size", _optional(_scales())),
    ("model.**.init_cfg", _optional(_mappings(single=True))),
    ("model.train_cfg", _optional(_mapping())),
    ("model.test_cfg", _optional(_mapping())),
    ("model.test_cfg.mode", _one_of("whole", "slide", "slide_flip")),
    ("model.test_cfg.crop_size", _optional(_scales())),
    ("model.test_cfg.stride", _optional(_scales())),
    ("**.data_preprocessor.std", _optional(_several(_positive()))),
    ("**.data_preprocessor.mean", _optional(_several(_ANY))),
    ("*_dataloader.dataset.transform.std", _several(_positive())),
    ("*_dataloader.dataset.transform.mean", _several(_ANY)),
    ("*_dataloader.batch_size", _whole(1)),
    ("*_dataloader.num_workers", _whole(0, 1024)),
    ("*_dataloader.prefetch_factor", _optional(_whole(1))),
    ("*_dataloader.timeout", _number(0)),
    ("*_dataloader.sampler", _mapping()),
    ("*_dataloader.batch_sampler", _optional(_mapping())),
    ("*_dataloader.**.dataset", _mapping()),
    ("*_dataloader.**.datasets", _mappings()),
    ("*_dataloader.**.pipeline", _mappings()),
    ("*_dataloader.**.pipeline.**.scale", _optional(_scales())),
    ("*_dataloader.**.pipeline.**.crop_size", _optional(_alone_or_several(_positive()))),
    ("*_dataloader.**.pipeline.**.cat_max_ratio", _PROBABILITY),
    ("*_dataloader.**.data_root", _optional(_text())),
    ("*_dataloader.**.ann_file", _optional(_text())),
    ("*_dataloader.**.data_prefix", _optional(_mapping())),
    ("*_dataloader.**.metainfo", _optional(_mapping())),
    ("*_dataloader.dataset.transform", _mapping()),
    ("*_dataloader.dataset.transform.crop_pct", _optional(_positive(2))),
    ("*_dataloader.dataset.transform.crop_mode", _one_of("center", "squash", "border")),
    ("*_dataloader.dataset.transform.scale", _optional(_span(1))),
    ("*_dataloader.dataset.transform.ratio", _optional(_span(100))),
    ("*_dataloader.dataset.transform.[hv]flip", _PROBABILITY),
    ("*_dataloader.dataset.transform.*prob", _PROBABILITY),
    ("*_dataloader.dataset.transform.color_jitter", _optional(_alone_or_several(_number(0)))),
    ("*_evaluator", _optional(_mappings(single=True))),
    ("*_evaluator.**.iou_metrics", _several(_one_of("mIoU", "mDice", "mFscore"))),
    ("*_evaluator.**.collect_device", _one_of("cpu", "gpu")),
    ("optim_wrapper.optimizer", _mapping()),
    ("optim_wrapper.optimizer.lr", _number(0)),
    ("optim_wrapper.optimizer.weight_decay", _number(0)),
    ("optim_wrapper.optimizer.momentum", _share()),
    ("optim_wrapper.optimizer.betas", _several((lambda v: _is_number(v, 0, below=1), "a number from 0 to below 1"))),
    ("optim_wrapper.clip_grad", _optional(_only("type", "max_norm", "norm_type", "error_if_nonfinite", "clip_value"))),
    ("optim_wrapper.clip_grad.max_norm", _positive()),
    ("optim_wrapper.clip_grad.norm_type", (lambda v: _is_number(v, 0) or v in (math.inf, "inf"), "a number from 0")),
    ("optim_wrapper.loss_scale", (lambda v: isinstance(v, Mapping) or v == "dynamic" or _is_number(v, 0), _LOSS_SCALE)),
    ("optim_wrapper.accumulative_counts", _whole(1)),
    ("optim_wrapper.paramwise_cfg", _optional(_mapping())),
    ("param_scheduler", _optional(_mappings(single=True))),
    ("param_scheduler.*.begin", _number(0)),
    ("param_scheduler.*.end", _positive()),
    ("param_scheduler.*.T_max", _optional(_positive())),
    ("train_cfg.max_epochs", _whole(1, _MOST)),
    ("train_cfg.max_iters", _whole(1, _MOST)),
    ("train_cfg.val_interval", (lambda v: _is_number(v, 1) and v == int(v), "a whole number from 1")),
    ("train_cfg.val_begin", _whole(0)),
    ("default_hooks.*", _optional(_mapping())),
    ("custom_hooks", _optional(_mappings())),
    ("default_hooks.*.interval", _whole_or("never")),
    ("custom_hooks.*.interval", _whole_or("never")),
    ("custom_hooks.*.momentum", _PROBABILITY),
    ("default_hooks.checkpoint.max_keep_ckpts", _whole_or("all")),
    ("default_hooks.checkpoint.rule", _optional(_alone_or_several(_one_of("greater", "less")))),
    ("default_hooks.checkpoint.filename_tmpl", _optional(_template())),
    ("randomness", _only("seed", "diff_rank_seed", "deterministic")),
    ("randomness.seed", _optional(_whole(0, 2**32 - 1))),
    ("work_dir", _optional(_text())),
    ("total_batch_size", _optional(_whole(1))),
    ("auto_scale_lr.base_batch_size", _positive()),
    ("auto_scale_lr.enable", _flag()),
    ("find_unused_parameters", _flag()),
    ("env_cfg", _only("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit")),
    ("env_cfg.cudnn_benchmark", _flag()),
    ("env_cfg.mp_cfg", _mapping()),
    ("env_cfg.mp_cfg.mp_start_method", _one_of("fork", "spawn", "forkserver")),
    ("env_cfg.mp_cfg.opencv_num_threads", _whole(0, 1024)),
    ("env_cfg.dist_cfg", _mapping()),
    ("env_cfg.resource_limit", _whole(1)),
    ("log_level", _one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
    ("log_processor.window_size", _whole(1)),
    ("log_processor.num_digits", _whole(0, 20)),
    ("visualizer.name", _text()),
    ("visualizer.vis_backends", _optional(_mappings())),
    ("runner_type", _one_of("Runner", "FlexibleRunner")),
    ("model_wrapper_cfg", _optional(_mapping())),
    ("strategy", _optional(_mapping())),
    ("sync_bn", _optional(_one_of("torch", "mmcv"))),
    ("compile", (lambda value: isinstance(value, bool | Mapping | None), "True, False or a dict")),
    ("tta_cfg", _optional(_mapping())),
    ("efficient_conv_bn_eval", _optional(_several(_text()))),
    ("activation_checkpointing", _optional(_several(_text()))),
    ("custom_imports", _optional(_only("imports", "allow_failed_imports"))),
    ("custom_imports.imports", (lambda v: not v or _alone_or_several(_text())[0](v), "names of modules")),
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


def check_values(cfg: Config, overrides: Mapping[str, Any] | None, before: Iterable[str]) -> None:
    """Hold a config's values against ``_RULES`` and the registries.

    Args:
        cfg: with ``overrides`` merged in.
        overrides: entries of the command line, by dotted name.
        before: names of the entries that the config had without them.

    Raises:
        InputError: naming each entry, what it is and what it may be; an entry of the command line that nothing reads;
            a text with a zero byte; a type that is not registered.
    """
    content = dict(cfg.items())
    scope = cfg.get("default_scope") if isinstance(cfg.get("default_scope"), str) else None
    faults = dict(_unread(overrides or {}, set(before)))
    judged = set()  # by the table: some signatures' types are narrower than what works
    for pattern, (check, words) in _RULES:
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
            faults = dict(unknown_types(content, scope))
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


def _unread(overrides: Mapping[str, Any], before: set[str]) -> Iterator[tuple[str, str]]:
    """Entries of the command line that nothing reads; launcher and cfg are never a config's to give."""
    known = before | (set(inspect.signature(Runner.__init__).parameters) - {"self", "cfg", "launcher"}) | _READ
    for key in overrides:
        name = key.partition(".")[0]
        if name not in known:
            yield key, f"nothing reads an entry {name}{is_it(name, known)}"
