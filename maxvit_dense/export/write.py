"""Writes weights in timm's layout: one safetensors file, or a folder in timm's hub form with a card."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.models import PretrainedCfg
from timm.models._hub import save_config_for_hf  # in timm.models since 1.0.16
from torch import Tensor, nn

from ..arguments import PARTITION_RATIO, parse_window_size
from ..errors import InputError, listed
from ..files import blocked, file_written_aside, written_aside
from ..rel_pos import resize_bias_table
from ..sizes import ceil_div
from ..variants import CONFIGS, TAG_CONFIGS, default_cfgs
from ..weights.fit import TABLE_SUFFIX, describe_widths
from ..weights.integrity import save_safetensors
from ..weights.mismatch import compare_shapes
from .provenance import commit, versions
from .sources import FIRST_CONV, HUB_CONFIG, WEIGHTS_FILE, Source

_CARD_FILE = "card.json"
_STAGES = 4
_LAST_STEM_CONV = "stem.conv2.weight"
_HEAD = ("head.", "norm.")
_LARGEST_WINDOW = 128  # tokens; its tables take 128 MB for B, and attention over 16,384 tokens far more


@dataclass(frozen=True)
class Network:
    """The network that a state dict in timm's layout is of, as its shapes tell.

    Attributes:
        variant: timm name, "maxvit_t".
        tag: of the variant's other implementation, "tv_in1k"; else None.
        in_chans, num_classes: as of ``timm.create_model``.
        table_window: (Ph, Pw) that the bias tables are made for.
    """

    variant: str
    tag: str | None
    in_chans: int
    num_classes: int
    table_window: tuple[int, int]

    def build(self, pretrained_cfg: Any = None, **kwargs: Any) -> nn.Module:
        """The network without memory for its weights (device "meta")."""
        return timm.create_model(
            self.variant,
            pretrained_cfg=pretrained_cfg or self.tag,
            img_size=tuple(PARTITION_RATIO * side for side in self.table_window),
            in_chans=self.in_chans,
            num_classes=self.num_classes,
            device="meta",
            **kwargs,
        )


def identify(weights: Mapping[str, Tensor]) -> Network:
    """Finds the network that complete weights are of.

    Raises:
        InputError: no network of this package has these widths and depths; tensors are missing, unknown or misshapen.
    """
    found = [(compare_shapes(network.build().state_dict(), weights), network) for network in _of_this_size(weights)]
    for mismatch, network in found:
        if not mismatch:
            return network
    mismatch, network = min(found, key=lambda pair: len(pair[0].missing) + len(pair[0].unexpected))
    raise InputError(f"These are no whole weights of {network.variant}: {mismatch}.")


def _table_window(weights: Mapping[str, Tensor]) -> tuple[int, int]:
    """Window of the bias tables, that of the last stage where stages differ (CoAtNet); 7 x 7 where there are none."""
    tables = [value for name, value in weights.items() if name.endswith(TABLE_SUFFIX)]
    # A flat table, (rows * cols, h), is of a square window: it does not tell others.
    sizes = [tuple(v.shape[1:]) if v.dim() == 3 else (round(len(v) ** 0.5),) * 2 for v in tables] or [(13, 13)]
    of_one_size = len(set(sizes)) == 1 or tables[0].dim() == 2
    if not of_one_size or any(rows % 2 == 0 or cols % 2 == 0 for rows, cols in sizes):
        counted = f"{len(set(sizes))} sizes ({sorted(set(sizes))})"
        raise InputError(f"These weights have bias tables of {counted}; MaxViT's have one, of odd sides.")
    return (sizes[-1][0] + 1) // 2, (sizes[-1][1] + 1) // 2


def _of_this_size(weights: Mapping[str, Tensor]) -> list[Network]:
    """The networks that have the widths and depths of some weights, if not their style."""
    depths = tuple(
        len({n.split(".")[3] for n in weights if n.startswith(f"stages.{s}.blocks.")}) for s in range(_STAGES)
    )
    stem, widths, fc = len(weights[_LAST_STEM_CONV]), describe_widths(weights), weights.get("head.fc.weight")
    classes = 0 if fc is None else len(fc)
    names = [
        name.partition(".")
        for name, cfg in (CONFIGS | TAG_CONFIGS).items()
        if (cfg.stem_dim, ", ".join(map(str, cfg.dims)), cfg.depths) == (stem, widths, depths)
    ]
    if not names:
        missing = "; a backbone whose last stages were left out (out_indices) is incomplete" if 0 in depths else ""
        raise InputError(
            f"No MaxViT has a stem of {stem} channels, stages of {widths} and {', '.join(map(str, depths))} blocks, "
            f"as these weights do{missing}. Sizes here: {', '.join(CONFIGS)}."
        )
    window, in_chans = _table_window(weights), weights[FIRST_CONV].shape[1]
    return [Network(variant, tag or None, in_chans, classes, window) for variant, _, tag in names]


def _complete_head(weights: dict[str, Tensor]) -> bool:
    """Adds a head that passes features on to a backbone that was trained without one; says whether it did.

    timm's networks have a norm, and most a hidden layer, before the classifier even for ``num_classes=0``, and load
    strictly. The norm gets weight 1 and bias 0, the hidden layer the identity.
    """
    if any(name.startswith(_HEAD) for name in weights):
        return False
    try:
        networks = _of_this_size(weights)
    except (InputError, KeyError):
        return False  # identify() says what they lack
    for network in networks:
        own = network.build().state_dict()
        mismatch = compare_shapes(own, weights)
        if mismatch.unexpected or mismatch.reshaped or any(not name.startswith(_HEAD) for name in mismatch.missing):
            continue
        weights |= {name: _neutral(name, own[name].shape) for name in mismatch.missing}
        return True
    return False


def _neutral(name: str, shape: torch.Size) -> Tensor:
    """What passes features on: a factor of 1, a bias of 0, the identity."""
    if len(shape) == 2:
        return torch.eye(*shape)
    return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)


def parse_resize(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """Reads a new table size: "384" or "512x640" pixels, "window=12" or "window=16x20" tokens.

    Returns:
        (window (Ph, Pw), image size (H, W)).

    Raises:
        InputError: neither.
    """
    is_window = text.startswith("window=")
    try:
        sides = tuple(int(side) for side in text.removeprefix("window=").split("x"))
        _, sides = parse_window_size(sides * 2 if len(sides) == 1 else sides)
    except ValueError as error:
        raise InputError(
            f"--resize {text}: give an image size in pixels (384, or 512x640 for height x width) or a window in tokens "
            "(window=12, window=16x20)."
        ) from error
    if max(sides) > (_LARGEST_WINDOW if is_window else PARTITION_RATIO * _LARGEST_WINDOW):
        raise InputError(
            f"--resize {text} is more than a window of {_LARGEST_WINDOW} tokens a side, of images of "
            f"{PARTITION_RATIO * _LARGEST_WINDOW} pixels: tables grow with its square. Give less."
        )
    if is_window:
        return sides, (PARTITION_RATIO * sides[0], PARTITION_RATIO * sides[1])
    return (ceil_div(sides[0], PARTITION_RATIO), ceil_div(sides[1], PARTITION_RATIO)), sides


@dataclass(frozen=True)
class Export:
    """Complete weights ready to be written.

    Attributes:
        weights, network: the weights and what they are of.
        pretrained_cfg: timm's description: normalisation, input size, crop.
        window_size: attention window in use: pair or "ratio".
        labels: class names, or None.
        card: what is written as ``card.json``.
        assumed: tag whose preprocessing was taken because nothing tells the right one; else None.
    """

    weights: dict[str, Tensor]
    network: Network
    pretrained_cfg: PretrainedCfg
    window_size: tuple[int, int] | str
    labels: tuple[str, ...] | None
    card: dict[str, Any]
    assumed: str | None


def prepare(source: Source, resize: str | None = None, tag: str | None = None) -> Export:
    """Completes weights, resizes their tables if asked to, and gathers their description.

    Args:
        source: what was read.
        resize: see ``parse_resize``; tables are resized by the bilinear rule of ``rel_pos``.
        tag: published tag whose preprocessing these weights were trained with.

    Raises:
        InputError: the weights are of no known network, or ``tag`` of another.
    """
    weights = dict(source.weights)
    neutral_head = _complete_head(weights)
    network = identify(weights)
    table = list(network.table_window)
    cfg, assumed = _pretrained_cfg(source, network, tag)
    window = _window(source, network, cfg)
    if resize is not None:
        new_window, img_size = parse_resize(resize)
        weights = _resized(weights, new_window)
        network = replace(network, table_window=new_window)
        window = window if window == "ratio" else new_window
        cfg = replace(cfg, input_size=(network.in_chans, *img_size))
    height, width = (ceil_div(side, PARTITION_RATIO) for side in cfg.input_size[1:])
    card = dict(
        architecture=f"{network.variant}.{network.tag}" if network.tag else network.variant,
        source=dict(kind=source.kind, name=source.name),
        weights="averaged" if source.averaged else "raw",
        head="neutral" if neutral_head else "trained",
        table_window=list(network.table_window),
        resized_from=table if resize is not None else None,
        **_run_card(source),
        commit=commit(),  # of the conversion
        versions=versions(),
    )
    labels = source.run.classes if source.run and len(source.run.classes or ()) == network.num_classes > 0 else None
    return Export(weights, network, replace(cfg, pool_size=(height, width)), window, labels, card, assumed)


def _pretrained_cfg(source: Source, network: Network, tag: str | None) -> tuple[PretrainedCfg, str | None]:
    """Description of the weights, and the tag that was assumed for want of better knowledge."""
    cfgs = default_cfgs[network.variant].cfgs
    known = tag or source.tag or network.tag
    if known is not None and known not in cfgs:
        raise InputError(f"--tag {known}: {network.variant} has {', '.join(sorted(cfgs))}.")
    if known is not None:
        _check_tag(cfgs[known], known, network)
        cfg = cfgs[known]
    else:
        fitting = [name for name, cfg in cfgs.items() if _fits(cfg, network)]
        assumed = fitting[0] if fitting else default_cfgs[network.variant].default.tag
        cfg = replace(cfgs[assumed], tag=None, license=None, input_size=_input_size(network))
    size = (network.in_chans, *cfg.input_size[1:])
    cfg = replace(cfg, url=None, hf_hub_id=None, num_classes=network.num_classes, input_size=size)
    own = {} if tag else _own_description(source, network)
    is_told = known is not None or "mean" in own
    return replace(cfg, **own), None if is_told else assumed


def _own_description(source: Source, network: Network) -> dict[str, Any]:
    """What the source itself tells of the preprocessing."""
    if source.hub_config:
        told = source.hub_config["pretrained_cfg"]
        names = ("mean", "std", "input_size", "crop_pct", "crop_mode", "interpolation", "license", "tag")
        return {name: tuple(v) if isinstance(v := told[name], list) else v for name in names if name in told}
    run = source.run
    if run is None:
        return {}
    names = ("mean", "std", *(("crop_pct", "crop_mode", "interpolation") if network.num_classes > 0 else ()))
    facts = {name: run.facts.get(name) for name in names}
    told = {name: tuple(v) if isinstance(v, list) else v for name, v in facts.items() if v is not None}
    size = run.facts.get("input_size")
    return told | (dict(input_size=(network.in_chans, size, size)) if network.num_classes > 0 and size else {})


def _check_tag(cfg: PretrainedCfg, tag: str, network: Network) -> None:
    if network.num_classes not in (0, cfg.num_classes):
        raise InputError(f"--tag {tag} has {cfg.num_classes} classes; these weights have {network.num_classes}.")


def _fits(cfg: PretrainedCfg, network: Network) -> bool:
    return cfg.num_classes == network.num_classes and cfg.input_size[1:] == _input_size(network)[1:]


def _input_size(network: Network) -> tuple[int, int, int]:
    return network.in_chans, *(PARTITION_RATIO * side for side in network.table_window)


def _window(source: Source, network: Network, cfg: PretrainedCfg) -> tuple[int, int] | str:
    """The window in use: the run's, the hub form's, else the tables' own; for a tag that of its image size."""
    described = source.run.facts if source.run else source.hub_config.get("model_args") or {}
    told = described.get("window_size")
    if told is not None:
        try:
            is_ratio, window = parse_window_size(told)
        except ValueError as error:
            raise InputError(f"{source.name}: {error}") from error
        return "ratio" if is_ratio else window
    if source.run:
        return network.table_window
    height, width = cfg.input_size[1:]
    return ceil_div(height, PARTITION_RATIO), ceil_div(width, PARTITION_RATIO)


def _resized(weights: Mapping[str, Tensor], window: tuple[int, int]) -> dict[str, Tensor]:
    size = (2 * window[0] - 1, 2 * window[1] - 1)
    return {n: resize_bias_table(v, size) if n.endswith(TABLE_SUFFIX) else v for n, v in weights.items()}


def _run_card(source: Source) -> dict[str, Any]:
    run = source.run
    if run is None:
        return {}
    return dict(
        recipe=dict(config=run.config, sha256=run.config_sha256),
        data=run.facts.get("data"),
        **{key: getattr(run, key) for key in ("epoch", "iter", "metric", "classes")},
        trained_with=run.software,
    )


def write(export: Export, target: Path, force: bool = False) -> None:
    """Writes ``NAME.safetensors`` alone, or a folder of ``model.safetensors``, ``config.json`` and ``card.json``.

    Raises:
        InputError: the target exists and ``force`` is not given, or is a folder of other things; it cannot be written.
    """
    check_target(target, force)
    weights = {name: value.contiguous() for name, value in export.weights.items()}
    try:
        if target.suffix == ".safetensors":
            with file_written_aside(target) as partial:
                save_safetensors(weights, partial)
            return
        with written_aside(target) as partial:
            model = export.network.build(asdict(export.pretrained_cfg), window_size=export.window_size)
            model.load_state_dict(weights, strict=True, assign=True)
            labels = {"label_names": list(export.labels)} if export.labels else {}
            save_config_for_hf(model, str(partial / HUB_CONFIG), model_config=labels)
            save_safetensors(weights, partial / WEIGHTS_FILE)
            (partial / _CARD_FILE).write_text(json.dumps(export.card, indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise InputError(f"{target} cannot be written ({error}). Nothing there was changed.") from error


def check_target(target: Path, force: bool) -> None:
    """Refuses a target that cannot be written or must not be replaced."""
    if problem := blocked(target):
        raise InputError(f"{str(target)!r} cannot be written: {problem}. Name another target.")
    if not os.path.lexists(target):
        return
    is_file = target.suffix == ".safetensors"
    if target.is_dir() == is_file:
        raise InputError(f"{target} is a {'folder' if is_file else 'file'}. Name another target.")
    if is_file or any(target.iterdir()):
        if not force:
            raise InputError(f"{target} exists and was left as it is. Give --force to replace it, or another target.")
        if is_file and not _is_safetensors(target):
            raise InputError(f"{target} is no file of weights, and --force replaces those alone. Name another target.")
        others = [] if is_file else sorted({p.name for p in target.iterdir()} - {WEIGHTS_FILE, HUB_CONFIG, _CARD_FILE})
        if others:
            raise InputError(f"{target} holds other things ({listed(others)}). Name another folder.")


def _is_safetensors(path: Path) -> bool:
    try:
        with safe_open(path, "pt") as file:
            return file.keys() is not None
    except (SafetensorError, OSError):
        return False
