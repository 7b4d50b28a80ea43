"""Values of a config held against what can work, before anything is built of them.

What a part's own constructor refuses is found by ``engine.rehearsal``; here is what constructors take and fail on
hours later, or never mention, and what would break on the way to them: a table of values by their keys. ``parts`` adds
what the signatures of registered parts say.
"""

import inspect
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner

from ...errors import InputError, listed
from .parts import children, entries, is_it, is_listing, shown, unknown_types, unread_keys, wrong_arguments

_Rule = tuple[Callable[[Any], bool], str]  # what is right, and in words


def number(
    least: float = -math.inf, most: float = math.inf, *, above: bool = False, below: bool = False, whole: bool = False
) -> _Rule:
    """From ``least``, or ``above`` it, to ``most``, or ``below`` it."""

    def check(value: Any) -> bool:
        if not isinstance(value, int if whole else int | float) or isinstance(value, bool) or not math.isfinite(value):
            return False
        return (least < value if above else least <= value) and (value < most if below else value <= most)

    lower = "" if least == -math.inf else f" {'above' if above else 'from'} {least}"
    upper = "" if most == math.inf else f" to {'below ' if below else ''}{most}"
    return check, f"a {'whole ' if whole else ''}number{lower}{upper}"


def one_of(*words: str) -> _Rule:
    return lambda value: isinstance(value, str) and value in words, f"one of {', '.join(words)}"


def only(*keys: str) -> _Rule:
    return lambda value: isinstance(value, Mapping) and set(value) <= set(keys), f"a dict of {', '.join(keys)}"


def several(rule: _Rule) -> _Rule:
    check, words = rule
    return lambda value: is_listing(value) and bool(value) and all(map(check, value)), f"a list, each {words}"


def either(rule: _Rule, other: _Rule) -> _Rule:
    return lambda value: rule[0](value) or other[0](value), f"{rule[1]}, or {other[1]}"


def optional(rule: _Rule) -> _Rule:
    return either(rule, (lambda value: value is None, "None"))


def alone_or_several(rule: _Rule) -> _Rule:
    return either(rule, (several(rule)[0], "a list of such"))


def number_or(value: Any, meaning: str) -> _Rule:
    return either(number(1, whole=True), (lambda given: given == value, f"{value} for {meaning}"))


def span(most: float) -> _Rule:
    def check(value: Any) -> bool:
        return is_listing(value) and len(value) == 2 and several(POSITIVE)[0](value) and value[0] <= value[1] <= most

    return check, f"two numbers above 0 to {most:g}, the smaller first"


def _is_scale(value: Any) -> bool:
    return POSITIVE[0](value) or (is_listing(value) and len(value) == 2 and several(POSITIVE)[0](value))


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and value.count("{}") == 1 and not {"/", "\0"} & set(value)


MOST = 10**9  # epochs or iterations
NUMBER, PROBABILITY, SHARE = number(), number(0, 1), number(0, 1, below=True)
POSITIVE, FROM_ZERO = number(0, above=True), number(0)
COUNT, WHOLE = number(1, whole=True), number(0, whole=True)
FLAG = lambda value: isinstance(value, bool), "True or False"
TEXT = lambda value: isinstance(value, str) and "\0" not in value, "text"
MAPPING = lambda value: isinstance(value, Mapping), "a dict"
# On the command line one without inner quotes arrives as texts.
MAPPINGS = (
    lambda value: is_listing(value) and all(isinstance(item, Mapping) for item in value),
    "a list of dicts; on the command line with quotes inside too, \"[dict(type='...')]\"",
)
TYPED = lambda value: callable(value) or (isinstance(value, Mapping) and "type" in value), "a dict with a type"
MAPPING_OR_MORE = lambda value: MAPPING[0](value) or MAPPINGS[0](value), f"a dict or {MAPPINGS[1]}"
# (W, H) of OpenMMLab's transforms, in pixels or relative to the image; one or several.
SCALES = alone_or_several((_is_scale, "(width, height) above 0"))
CROP = lambda value: several(COUNT)[0](value) and len(value) == 2, "(height, width) in whole pixels"

# What may stand at the keys of these patterns (* is one part of a key, ** any number of parts). Types alone are not
# repeated here where a constructor's signature has them.
_RULES: tuple[tuple[_Rule, str], ...] = (
    (FLAG, "auto_scale_lr.enable find_unused_parameters env_cfg.cudnn_benchmark"),
    (TEXT, "visualizer.name"),
    (
        MAPPING,
        "model.**.data_preprocessor *_dataloader.**.dataset *_dataloader.dataset.transform "
        "optim_wrapper.optimizer optim_wrapper.paramwise_cfg.custom_keys optim_wrapper.paramwise_cfg.custom_keys.*",
    ),
    (TYPED, "*_dataloader.sampler *_dataloader.collate_fn"),
    (optional(TYPED), "*_dataloader.batch_sampler"),
    (MAPPINGS, "*_dataloader.**.datasets *_dataloader.**.pipeline"),
    (optional(TEXT), "work_dir *_dataloader.**.data_root *_dataloader.**.ann_file"),
    (
        optional(MAPPING),
        "model.train_cfg model.test_cfg *_dataloader.**.data_prefix model_wrapper_cfg "
        "*_dataloader.**.metainfo optim_wrapper.paramwise_cfg default_hooks.* strategy tta_cfg",
    ),
    (optional(MAPPINGS), "custom_hooks visualizer.vis_backends"),
    (optional(MAPPING_OR_MORE), "model.**.init_cfg *_evaluator param_scheduler"),
    (optional(several(TEXT)), "efficient_conv_bn_eval activation_checkpointing"),
    # Numbers.
    (number(-1, 1, below=True), "model.**.dropout_ratio"),
    (FROM_ZERO, "optim_wrapper.optimizer.lr optim_wrapper.optimizer.weight_decay param_scheduler.*.begin"),
    (FROM_ZERO, "model.data_preprocessor.mixup.*_alpha *_dataloader.timeout"),
    (POSITIVE, "optim_wrapper.clip_grad.max_norm auto_scale_lr.base_batch_size param_scheduler.*.end"),
    (optional(POSITIVE), "param_scheduler.*.T_max"),
    (COUNT, "*_dataloader.batch_size model.*_head.channels log_processor.window_size"),
    (COUNT, "env_cfg.resource_limit optim_wrapper.accumulative_counts"),
    (optional(COUNT), "*_dataloader.prefetch_factor total_batch_size"),
    (number(1, MOST, whole=True), "train_cfg.max_epochs train_cfg.max_iters"),
    (WHOLE, "model.**.num_classes train_cfg.val_begin custom_hooks.*.begin"),
    (number(0, 1024, whole=True), "*_dataloader.num_workers env_cfg.mp_cfg.opencv_num_threads"),
    (number(0, 20, whole=True), "log_processor.num_digits"),
    (optional(number(0, 2**32 - 1, whole=True)), "randomness.seed"),
    ((lambda value: number(1)[0](value) and value == int(value), COUNT[1]), "train_cfg.val_interval"),
    (number_or(-1, "never"), "default_hooks.*.interval custom_hooks.*.interval"),
    (number_or(-1, "all"), "default_hooks.checkpoint.max_keep_ckpts"),
    (SHARE, "model.**.drop_path_rate model.**.drop_rate model.**.label_smoothing optim_wrapper.optimizer.momentum"),
    (several(SHARE), "optim_wrapper.optimizer.betas"),
    (
        PROBABILITY,
        "model.data_preprocessor.mixup.*prob model.data_preprocessor.random_erasing.probability "
        "*_dataloader.**.pipeline.**.cat_max_ratio *_dataloader.dataset.transform.[hv]flip "
        "*_dataloader.dataset.transform.*prob custom_hooks.*.momentum",
    ),
    (optional(alone_or_several(PROBABILITY)), "*_evaluator.**.iou_thrs"),
    (alone_or_several(FROM_ZERO), "model.**.loss_weight"),
    (optional(alone_or_several(FROM_ZERO)), "*_dataloader.dataset.transform.color_jitter"),
    (several(COUNT), "model.*_head.pool_scales"),
    (several(POSITIVE), "*_dataloader.dataset.transform.std"),
    (several(NUMBER), "*_dataloader.dataset.transform.mean"),
    (optional(several(POSITIVE)), "**.data_preprocessor.std"),
    (optional(several(NUMBER)), "**.data_preprocessor.mean"),
    (optional(number(0, 2, above=True)), "*_dataloader.dataset.transform.crop_pct"),
    (
        optional(SCALES),
        "model.data_preprocessor.size model.test_cfg.crop_size model.test_cfg.stride *_dataloader.**.pipeline.**.scale",
    ),
    (CROP, "custom_hooks.*.crop_size"),
    (optional(alone_or_several(POSITIVE)), "*_dataloader.**.pipeline.**.crop_size"),
    (optional(span(1)), "*_dataloader.dataset.transform.scale"),
    (optional(span(100)), "*_dataloader.dataset.transform.ratio"),
    (either(FROM_ZERO, (lambda value: value in (math.inf, "inf"), "inf")), "optim_wrapper.clip_grad.norm_type"),
    (either(FROM_ZERO, either(one_of("dynamic"), MAPPING)), "optim_wrapper.loss_scale"),
    # Words.
    (one_of("batch", "pair", "elem"), "model.data_preprocessor.mixup.mode"),
    (one_of("whole", "slide", "slide_flip"), "model.test_cfg.mode"),
    (one_of("center", "squash", "border"), "*_dataloader.dataset.transform.crop_mode"),
    (several(one_of("mIoU", "mDice", "mFscore")), "*_evaluator.**.iou_metrics"),
    (one_of("cpu", "gpu"), "*_evaluator.**.collect_device"),
    (one_of("fork", "spawn", "forkserver"), "env_cfg.mp_cfg.mp_start_method"),
    (one_of("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"), "log_level"),
    (one_of("Runner", "FlexibleRunner"), "runner_type"),
    (optional(one_of("torch", "mmcv")), "sync_bn"),
    (optional(alone_or_several(one_of("greater", "less"))), "default_hooks.checkpoint.rule"),
    (optional((_is_template, "a file name with {} for the number")), "default_hooks.checkpoint.filename_tmpl"),
    # Dictionaries whose keys nothing else would miss.
    (only("seed", "diff_rank_seed", "deterministic"), "randomness"),
    (only("cudnn_benchmark", "mp_cfg", "dist_cfg", "resource_limit"), "env_cfg"),
    (only("mp_start_method", "opencv_num_threads"), "env_cfg.mp_cfg"),
    (only("backend", "timeout", "init_backend"), "env_cfg.dist_cfg"),
    (optional(only("enable", "base_batch_size")), "auto_scale_lr"),
    (optional(only("imports", "allow_failed_imports")), "custom_imports"),
    (optional(only("type", "max_norm", "norm_type", "error_if_nonfinite", "clip_value")), "optim_wrapper.clip_grad"),
    # Of several kinds.
    ((lambda value: not is_listing(value) or bool(value), "a loss, or a list of such"), "model.**.loss_*"),
    ((lambda value: isinstance(value, bool | Mapping | None), "True, False or a dict"), "compile"),
    ((lambda value: not value or alone_or_several(TEXT)[0](value), "names of modules"), "custom_imports.imports"),
)

_ABSENT = object()
# What is put in the place of a name or a number and does the same with it.
_REPLACED = ("type", "base_batch_size", "sync_bn", "init_cfg", "init_cfg.head")

# Entries that are read where they stand, besides the Runner's arguments.
_READ = set(
    "custom_imports default_scope total_batch_size sync_bn strategy runner_type compile find_unused_parameters tta_cfg "
    "model_wrapper_cfg activation_checkpointing efficient_conv_bn_eval data_preprocessor tta_model tta_pipeline".split()
)


def judge(content: Mapping[str, Any], rules: Iterable[tuple[_Rule, str]]) -> Iterator[tuple[str, Any, str]]:
    """Dotted key and value of each entry that a rule is about, and what to give instead; "" if it is right."""
    for (check, words), patterns in rules:
        for pattern in patterns.split():
            for key, value in entries(content, pattern):
                yield key, value, "" if check(value) else words


def check_values(cfg: Config, given: Iterable[str], new: Sequence[str]) -> None:
    """Hold a config's values against ``_RULES`` and the registries.

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
    for key, value, words in judge(content, _RULES):
        judged.add(key)
        if words:
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
