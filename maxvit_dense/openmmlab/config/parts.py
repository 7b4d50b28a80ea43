"""The registered parts that a config names: whether there are such, and whether they take their arguments' types."""

import builtins
import difflib
import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from mmengine import registry
from mmengine.config import ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import Registry
from mmengine.runner import Runner
from mmengine.utils.dl_utils import set_multi_processing
from torch.utils.data import DataLoader

from ...errors import listed

_LONGEST = 80  # characters of a value in a message

# Registries of what is named as the type of an entry at these patterns.
_TYPES: tuple[tuple[tuple[Registry, ...], str], ...] = (
    ((registry.DATASETS,), "*_dataloader.**.dataset *_dataloader.**.datasets.*"),
    ((registry.TRANSFORMS,), "*_dataloader.**.pipeline.*"),
    ((registry.DATA_SAMPLERS,), "*_dataloader.sampler *_dataloader.batch_sampler"),
    ((registry.FUNCTIONS,), "*_dataloader.collate_fn"),
    ((registry.METRICS, registry.EVALUATOR), "*_evaluator *_evaluator.*"),
    ((registry.OPTIM_WRAPPERS,), "optim_wrapper"),
    ((registry.OPTIMIZERS,), "optim_wrapper.optimizer"),
    ((registry.PARAM_SCHEDULERS,), "param_scheduler param_scheduler.*"),
    ((registry.LOOPS,), "train_cfg val_cfg test_cfg"),
    ((registry.HOOKS,), "default_hooks.* custom_hooks.*"),
    ((registry.LOG_PROCESSORS,), "log_processor"),
    ((registry.MODEL_WRAPPERS,), "model_wrapper_cfg"),
    ((registry.STRATEGIES,), "strategy"),
    ((registry.VISUALIZERS,), "visualizer"),
    ((registry.VISBACKENDS,), "visualizer.vis_backends.*"),
)

# An unknown one is said when the model is built.
_MODEL_PARTS = (((registry.MODELS, registry.TASK_UTILS), "model.** data_preprocessor.**"),)

# Registries of classes that take what their signature says, and nothing else.
_BY_SIGNATURE = {registry.METRICS, registry.EVALUATOR, registry.HOOKS, registry.DATASETS, registry.TRANSFORMS}
_BY_SIGNATURE |= {registry.DATA_SAMPLERS, registry.FUNCTIONS, registry.LOOPS}
_PACKAGES = ("mmengine", "mmcv", "mmdet", "mmseg", "maxvit_dense")
_HANDED_OVER = (".backbone", ".network", ".custom_keys")  # to networks, which refuse others; names of parameters
_OF_EVERY = ("type", "_scope_", "priority", "num_batch_per_epoch")

# What takes entries as its arguments without being registered.
_TAKERS: tuple[tuple[str, Callable], ...] = (
    ("", Runner.__init__),
    ("*_dataloader", DataLoader),
    ("randomness", Runner.set_randomness),
    ("env_cfg.mp_cfg", set_multi_processing),
)
_HANDED_ON = {CheckpointHook: Runner.save_checkpoint}  # who else takes what a class takes as ``**kwargs``


def entries(node: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """Dotted key and value of each entry of a config that a pattern of ``values`` names."""
    yield from _entries(node, pattern.split(".") if pattern else [], ())


def _entries(node: Any, parts: list[str], key: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    if not parts:
        yield ".".join(key), node
        return
    if parts[0] == "**":
        yield from _entries(node, parts[1:], key)
    for name, child in children(node):
        if parts[0] == "**":
            yield from _entries(child, parts, (*key, name))
        elif fnmatchcase(name, parts[0]):
            yield from _entries(child, parts[1:], (*key, name))


def children(node: Any) -> list[tuple[str, Any]]:
    """Names and values of a dictionary or a list; none of anything else."""
    if isinstance(node, Mapping):
        return [(str(name), child) for name, child in node.items()]
    return [(str(i), child) for i, child in enumerate(node)] if is_listing(node) else []


def type_name(entry: Mapping[str, Any]) -> str:
    """The name of an entry's registered type without its scope, of mmdet.LoadAnnotations the second part."""
    return str(entry.get("type")).rpartition(".")[2]


def shown(value: Any) -> str:
    """A value in a message, cut where it is long."""
    words = repr(value)
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}..."


def is_listing(value: Any) -> bool:
    return isinstance(value, list | tuple)


def is_it(name: str, known: Iterable[str]) -> str:
    """" (is it X?)" for a message, of the known names that are near; empty if none is."""
    near = difflib.get_close_matches(name, known, cutoff=0.5)
    return f" (is it {listed(near)}?)" if near else ""


def unknown_types(content: Mapping[str, Any], scope: str | None) -> Iterator[tuple[str, str]]:
    for key, entry, registries in _registered_entries(content, _TYPES):
        name = entry["type"]
        if not isinstance(name, str):
            yield key, f"{key}.type is {shown(name)}: give the name of a registered type"
        elif _find(registries, name, scope) is None:
            yield key, f"{key}.type is {name!r}, which is not registered{_near(registries, name, scope)}"


def _registered_entries(content: Mapping[str, Any], places: Iterable[tuple[tuple[Registry, ...], str]]) -> Iterator:
    """(key, entry, registries) of each entry that names its type."""
    for registries, patterns in places:
        for key, entry in chain.from_iterable(entries(content, pattern) for pattern in patterns.split()):
            if isinstance(entry, Mapping) and "type" in entry and not callable(entry["type"]):
                yield key, entry, registries


def _find(registries: Iterable[Registry], name: str, scope: str | None) -> Callable | None:
    for place in registries:
        try:
            with place.switch_scope_and_registry(scope) as chosen:
                found = chosen.get(name)
        except (ImportError, AttributeError, KeyError, ValueError):  # "a.b" is looked for as a module
            continue
        if found is not None:
            return found
    return None


# Arguments, held against signatures.


def wrong_arguments(content: Mapping[str, Any], scope: str | None) -> Iterator[tuple[str, str]]:
    """Values of another type than their parameter's, and arguments that nothing in a class asks for."""
    for pattern, taker in _TAKERS:
        for key, entry in entries(content, pattern):
            yield from _held_against(key, entry, taker, taker is DataLoader)
    for key, taker, registries in _takers(content, scope):
        entry = next(value for _, value in entries(content, key))
        yield from _held_against(key, entry, taker, set(registries) <= _BY_SIGNATURE)


def _takers(content: Mapping[str, Any], scope: str | None) -> Iterator[tuple[str, Callable, tuple[Registry, ...]]]:
    """Key of each entry that names its type, what is registered by that name, and where."""
    for key, entry, registries in _registered_entries(content, _TYPES + _MODEL_PARTS):
        taker = _find(registries, entry["type"], scope) if isinstance(entry["type"], str) else None
        if taker is not None:
            yield key, taker, registries


def unread_keys(content: Mapping[str, Any], new: Iterable[str], scope: str | None) -> Iterator[tuple[str, str]]:
    """Of ``new`` keys, those that nothing built of the entry around them mentions in its source.

    Keys of a plain dictionary (``model.test_cfg``, ``data_prefix``, ``paramwise_cfg``) are read while a part works, or
    not at all; and some classes drop arguments that they do not know.
    """
    parts = {key: taker for key, taker, _ in _takers(content, scope)}
    for key in new:
        around, _, name = key.rpartition(".")
        owner = next((part for part in _enclosing(around) if part in parts), None)
        if owner is None or name == "type" or around.endswith(_HANDED_OVER):
            continue
        if owner == around:
            known, takes_others = _parameters(parts[owner])
            if not takes_others or name in known or parts[owner].__module__.partition(".")[0] not in _PACKAGES:
                continue  # building it says so; others may hand on what they do not know
        takers = [taker for part, taker in parts.items() if f"{part}.".startswith(f"{owner}.")]
        if owner == "optim_wrapper":
            kind = content[owner].get("constructor") or "DefaultOptimWrapperConstructor"
            takers.append(registry.OPTIM_WRAPPER_CONSTRUCTORS.get(kind) or DefaultOptimWrapperConstructor)
        if not any(name in _words(module) for taker in takers for module in _modules(taker)):
            siblings = next((value for _, value in entries(content, around)), {})
            yield key, f"{key} is read by nothing{is_it(name, [other for other in siblings if other != name])}"


def _enclosing(key: str) -> Iterator[str]:
    """The dotted key, and those of the entries around it, the inner first."""
    while key:
        yield key
        key = key.rpartition(".")[0]


def _modules(taker: Callable) -> set[str]:
    """Of a class and its bases, and of the functions that these call, as far as they are not PyTorch's."""
    own = {kind.__module__ for kind in (inspect.getmro(taker) if isinstance(taker, type) else (taker,))}
    used = {getattr(value, "__module__", None) for name in own for value in vars(sys.modules[name]).values()}
    return {name for name in own | used if name in sys.modules and name.partition(".")[0] not in ("torch", "builtins")}


@cache
def _words(module: str) -> frozenset[str]:
    try:
        return frozenset(re.findall(r"\w+", inspect.getsource(sys.modules[module])))
    except (OSError, TypeError):  # of no file
        return frozenset()


def _held_against(key: str, entry: Any, taker: Callable, by_signature: bool) -> Iterator[tuple[str, str]]:
    known, takes_others = _parameters(taker)
    for name, value in entry.items() if isinstance(entry, Mapping) else ():
        place = f"{key}.{name}" if key else name
        kinds = known.get(name, ())
        if by_signature and not takes_others and name not in known and name not in _OF_EVERY:
            owners = inspect.getmro(taker) if isinstance(taker, type) else (taker,)
            if not any(name in _words(owner.__module__) for owner in owners):  # else popped from **kwargs
                yield place, f"{key}.{name} is read by nothing{is_it(name, known)}"
        elif kinds and not _is_one(value, kinds):
            words = dict.fromkeys(_WORDS[kind] for kind in kinds if kind in _WORDS) or [kinds[0].__name__]
            yield place, f"{place} is {shown(value)}: give {' or '.join(words)}"


_WORDS = {bool: "True or False", int: "a number", float: "a number", str: "text", types.NoneType: "None"} | {
    **dict.fromkeys((list, tuple, Sequence, Iterable), "a list"),
    **dict.fromkeys((dict, ConfigDict, Mapping), "a dict"),
}
_LISTS = (list, tuple, Sequence, Iterable)


def _is_one(value: Any, kinds: tuple[type, ...]) -> bool:
    """Whether a value is of one of these types, as upstream's signatures mean them.

    They say less than is taken: lists and dicts stand for what is built of them, one number for several.
    """
    if not isinstance(value, bool | int | float | str):
        return True
    if isinstance(value, str):
        return Path in kinds or any(isinstance(value, kind) for kind in kinds)
    if value in (0, 1) and bool in kinds:
        return True
    return not {int, float, *_LISTS}.isdisjoint(kinds) or any(isinstance(value, kind) for kind in kinds)


@cache
def _parameters(taker: Callable) -> tuple[dict[str, tuple[type, ...]], bool]:
    """What a function or a class takes: the types of each parameter, none where any will do.

    Those that a class hands on to its bases are among them. The second value tells whether it takes any others.
    """
    known: dict[str, tuple[type, ...]] = {}
    for owner in inspect.getmro(taker)[:-1] if isinstance(taker, type) else (taker,):
        function = owner.__dict__.get("__init__") if isinstance(owner, type) else owner
        if function is None:
            continue
        parameters = [*inspect.signature(function).parameters.values()]
        is_last = not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if owner in _HANDED_ON:
            parameters += inspect.signature(_HANDED_ON[owner]).parameters.values()
        for parameter in parameters:
            known.setdefault(parameter.name, _kinds(parameter, function))
        if is_last or owner in _HANDED_ON:
            return known, False
    return known, True


def _kinds(parameter: inspect.Parameter, function: Callable) -> tuple[type, ...]:
    """Types that a parameter may have; none where that cannot be told."""
    hint, default = parameter.annotation, parameter.default
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return ()
    if hint is parameter.empty:
        return (type(default),) if isinstance(default, bool | int | float) else ()
    if isinstance(hint, str):
        try:
            hint = eval(hint, vars(sys.modules[function.__module__]) | vars(builtins))
        except Exception:  # names for type checkers alone
            return ()
    return _classes(hint) if default is parameter.empty else _classes(hint) and (*_classes(hint), type(default))


def _classes(hint: Any) -> tuple[type, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        parts = [_classes(part) for part in typing.get_args(hint)]
        return sum(parts, ()) if all(parts) else ()
    kind = types.NoneType if hint is None else typing.get_origin(hint) or hint
    return (kind,) if isinstance(kind, type) and not getattr(kind, "_is_protocol", False) else ()


def _near(registries: Iterable[Registry], name: str, scope: str | None) -> str:
    names: set[str] = set()
    for place in registries:
        with place.switch_scope_and_registry(scope) as chosen:
            names |= set(place.module_dict) | set(chosen.module_dict)
    near = difflib.get_close_matches(name, names, cutoff=0.5)
    found = f"near it are {listed(near)}" if near else f"there are {listed(sorted(names), 8)}"
    return f"; {found} (default_scope {scope!r})"
