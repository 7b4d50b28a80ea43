"""Checkpoint files, read without ever running code that they hold.

A ``.pth`` file is a pickle, and unpickling runs whatever the file asks for. Everything here goes through
``torch.load(weights_only=True)`` or safetensors. The few names that checkpoints of mmengine's Runner (log
history, numpy numbers) and of timm's training script (its arguments) need besides tensors are allowed one by
one; any other name is refused.
"""

import argparse
import hashlib
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse

import torch
from timm.models import clean_state_dict
from torch import Tensor

from ..errors import InputError
from .integrity import check_archive, check_instructions, check_safetensors, check_tensors

# Names are spelt as the pickle spells them; the modules are imported only for a file that needs them.
_RUNNER_CLASSES = {
    "mmengine.logging.history_buffer.HistoryBuffer",
    "mmengine.optim.scheduler.param_scheduler.OneCycleParamScheduler",
}
# Pickle writes a method as getattr(class, name). Plain getattr would let a file walk from a class to any
# module, so only these methods are handed out.
_RUNNER_METHODS = {
    "HistoryBuffer": {"min", "max", "mean", "current"},
    "OneCycleParamScheduler": {"_annealing_cos", "_annealing_linear"},
}
_GETATTR = "builtins.getattr"
_NUMPY_NUMBERS = "?bBhHiIlLqQefd"

_AVERAGED_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
# A Runner with an EMAHook saves the averaged weights as ``state_dict`` and the others as ``ema_state_dict``.
_RAW_KEYS = ("ema_state_dict", "state_dict", "model")
_COUNTERS = ("steps", "n_averaged")

_REMEDY = "Give a file of weights written by torch.save (.pth, .pt) or safetensors (.safetensors)."


def read_checkpoint(file: str | Path | BinaryIO, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint file as tensors and plain values.

    Args:
        file: a local ``.safetensors`` or ``torch.save`` file, or an open binary ``torch.save`` file.
        map_location: as for ``torch.load``.

    Returns:
        What the file holds: a state dict, or a dictionary with one inside (see ``extract_state_dict``).

    Raises:
        InputError: the file is missing, no ordinary file, empty, truncated, damaged (see ``integrity``) or no
            checkpoint; it holds Python objects other than tensors, plain values and a Runner's own records; it holds
            no weights, or NaN alone.
    """
    name = str(file) if isinstance(file, str | Path) else "the checkpoint stream"
    if isinstance(file, str | Path):
        file = Path(file).expanduser()
        _check_file(file)
    if isinstance(file, Path) and file.suffix == ".safetensors":
        checkpoint = _read_safetensors(file, map_location)
    else:
        checkpoint = _read_torch(file, name, map_location)
    check_tensors(_find_weights(checkpoint, _AVERAGED_KEYS, name), name)
    return checkpoint


def extract_state_dict(checkpoint: Mapping[str, Any], averaged: bool = True) -> dict[str, Tensor]:
    """Find the weights in a checkpoint of timm, torchvision, mmengine's Runner, or a bare state dict.

    Args:
        checkpoint: what ``read_checkpoint`` returned.
        averaged: take the moving average (EMA) of the weights where the checkpoint has both.

    Returns:
        Tensors by parameter name, without the prefixes of DataParallel, ``torch.compile`` and EMA wrappers.

    Raises:
        InputError: no weights are found.
    """
    found = _find_weights(checkpoint, _AVERAGED_KEYS if averaged else _RAW_KEYS, "the checkpoint")
    return clean_state_dict({key: value for key, value in found.items() if key not in _COUNTERS})


def backbone_state_dict(checkpoint: Mapping[str, Any], prefix: str = "backbone.") -> dict[str, Tensor]:
    """The weights of the backbone alone: of a whole detector's checkpoint, or of a backbone's own.

    Args:
        checkpoint: what ``read_checkpoint`` returned.
        prefix: what the backbone's names begin with inside a whole detector.

    Returns:
        Tensors by parameter name, ``prefix`` taken off; every tensor if none has the prefix.
    """
    weights = extract_state_dict(checkpoint)
    inside = {key[len(prefix) :]: value for key, value in weights.items() if key.startswith(prefix)}
    return inside or weights


def download_checkpoint(url: str, progress: bool = True) -> Path:
    """Download a checkpoint once into torch.hub's folder; later calls find it there.

    Its name there has a hash of the address in front: the files of two addresses may share their name.

    Raises:
        InputError: the address does not answer.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / f"{hashlib.sha256(url.encode()).hexdigest()[:12]}-{Path(urlparse(url).path).name}"
    if target.is_file():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    try:
        torch.hub.download_url_to_file(url, str(target), progress=progress)
    except OSError as error:  # urllib's URLError and HTTPError among them
        raise InputError(
            f"{url} cannot be downloaded ({error}). Download it elsewhere and give the local file instead."
        ) from error
    return target


def _check_file(path: Path) -> None:
    if path.is_dir():
        raise InputError(f"{path} is a directory, not a checkpoint file. {_REMEDY}")
    if not os.path.lexists(path):
        raise InputError(f"There is no checkpoint file {path}. Check the path.")
    if not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is not a file: a pipe, a device or a link to nothing. {_REMEDY}")
    if path.stat().st_size == 0:
        raise InputError(f"{path} is empty (0 bytes). Copy or download it again.")


def _read_safetensors(path: Path, map_location: Any) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        check_safetensors(path)
        return load_file(path, device=str(map_location or "cpu"))
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, struct.error, AttributeError, TypeError) as error:
        problem = f"{path} is truncated or no safetensors file ({error})"
        raise InputError(f"{problem}. Copy or download it again.") from error


def _read_torch(file: Path | BinaryIO, name: str, map_location: Any) -> Any:
    is_zip = zipfile.is_zipfile(file)
    if not is_zip and _first_bytes(file, 4) == b"PK\x03\x04":
        raise InputError(f"{name} is truncated: its archive has no end. Copy or download it again.")
    if is_zip:
        check_archive(file, name)
    else:
        _check_legacy(file, name)
    try:
        # Only the present format can be asked which names it needs; a Runner never wrote the old one.
        _rewind(file)
        needed = set(torch.serialization.get_unsafe_globals_in_checkpoint(file)) if is_zip else set()
        allowed = _allowed_globals(needed)
        _refuse_names(needed - {spelling for _, spelling in allowed}, name)
        _rewind(file)
        with torch.serialization.safe_globals(allowed):
            return torch.load(file, map_location=map_location, weights_only=True)
    except InputError:
        raise
    except Exception as error:  # a broken file can fail anywhere in the parser
        _refuse_names(set(re.findall(r"GLOBAL (\S+)", str(error))), name)
        reason = _short_reason(error)
        raise InputError(f"{name} is damaged or no checkpoint ({reason}). {_REMEDY}") from error


def _check_legacy(file: Path | BinaryIO, name: str) -> None:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            check_instructions(stream, file.stat().st_size, name)
        return
    size = file.seek(0, os.SEEK_END)
    _rewind(file)
    check_instructions(file, size, name)


def _short_reason(error: Exception) -> str:
    """The first line that says what failed; torch's own text goes on to advise the unsafe way of loading."""
    text = str(error).rpartition("WeightsUnpickler error:")[2].strip()
    return text.split("\n")[0][:200] or type(error).__name__


def _rewind(file: Path | BinaryIO) -> None:
    if not isinstance(file, Path):
        file.seek(0)


def _first_bytes(file: Path | BinaryIO, count: int) -> bytes:
    if isinstance(file, Path):
        with file.open("rb") as stream:
            return stream.read(count)
    _rewind(file)
    return file.read(count)


def _refuse_names(names: set[str], file: str) -> None:
    if names:
        raise InputError(
            f"{file} holds Python objects besides tensors ({', '.join(sorted(names))}). Loading them could "
            "run any code, so they are refused. Ask whoever made the file for its state_dict alone: "
            "torch.save(model.state_dict(), ...)."
        )


def _allowed_globals(needed: set[str]) -> list[tuple[Callable, str]]:
    """What the file may name, each with the spelling under which it may do so."""
    allowed = [*_numpy_globals(), (argparse.Namespace, "argparse.Namespace")]
    for spelling in needed & _RUNNER_CLASSES:
        module, _, name = spelling.rpartition(".")
        allowed.append((getattr(import_module(module), name), spelling))
    if _GETATTR in needed and needed & _RUNNER_CLASSES:
        allowed.append((_runner_method, _GETATTR))
    return allowed


def _runner_method(owner: Any, name: str) -> Callable:
    known = isinstance(owner, type) and f"{owner.__module__}.{owner.__qualname__}" in _RUNNER_CLASSES
    if not known or name not in _RUNNER_METHODS[owner.__name__]:
        raise InputError(f"The checkpoint asks for {owner!r}.{name}, which no Runner writes; it is refused.")
    return getattr(owner, name)


def _numpy_globals() -> list[tuple[Callable, str]]:
    import numpy as np

    rebuild_array = np.zeros(1).__reduce__()[0]
    rebuild_number = np.float64(0).__reduce__()[0]
    allowed = [(np.ndarray, "numpy.ndarray"), (np.dtype, "numpy.dtype")]
    for module in ("numpy._core.multiarray", "numpy.core.multiarray"):  # numpy 2 and numpy 1
        allowed += [(rebuild_array, f"{module}._reconstruct"), (rebuild_number, f"{module}.scalar")]
    kinds = {type(np.dtype(code)) for code in _NUMPY_NUMBERS}
    return allowed + [(kind, f"{kind.__module__}.{kind.__qualname__}") for kind in kinds]


def _find_weights(checkpoint: Any, keys: tuple[str, ...], name: str) -> Mapping[str, Tensor]:
    if not isinstance(checkpoint, Mapping):
        kind = type(checkpoint).__name__
        raise InputError(f"{name} holds a {kind}, not a dictionary of weights. {_REMEDY}")
    nested = next((checkpoint[key] for key in keys if isinstance(checkpoint.get(key), Mapping)), checkpoint)
    others = [str(key) for key, value in nested.items() if not isinstance(value, Tensor)]
    if not nested or others:
        held = f"its entries are {', '.join(others[:8])}" if others else "it holds no tensor at all"
        raise InputError(f"{name} has no state dict: {held}. {_REMEDY}")
    return nested
