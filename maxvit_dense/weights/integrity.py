"""Whether a file of weights is as it was written, found before anything is made of its content.

A ``torch.save`` archive has a CRC-32 of each of its parts, which torch does not compare: it takes changed bytes for
weights. A ``.safetensors`` file has none; ours carry one in their metadata.
"""

import json
import pickletools
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from ..errors import InputError

_CHECKSUM = "crc32"  # its name in the metadata
_UNKNOWN = "0" * 8
_BLOCK = 2**20
_LONGEST_HEADER = 100_000_000  # bytes, safetensors' own limit
# An empty set takes a byte of a pickle and 216 bytes of memory. A pickle below the first size is harmless; above it
# the instructions are counted. 10,000 tensors take 300,000; a log of a million iterations is one long string.
_SMALL_PICKLE = 4 * 2**20
_MOST_INSTRUCTIONS = 2_000_000
_LEGACY_PICKLES = 5  # magic number, protocol, system, content, names of the storages; then raw bytes
# What zipfile raises where a directory, a length or a method was changed.
_BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, RuntimeError)
_AGAIN = "Copy or download it again."


def check_archive(file: Path | BinaryIO, name: str) -> None:
    """Compare every part of a ``torch.save`` archive with its CRC-32: 23 ms for 42 MB on one core.

    Archives written with ``torch.serialization.set_crc32_options(False)`` have zeros there and are not compared.

    Raises:
        InputError: a part differs, or cannot be found; parts that hold more than the file, as compressed ones would:
            torch.save compresses nothing, and a few kilobytes can inflate to gigabytes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
            held, size = sum(part.file_size for part in parts), _size(file)
            if held > size:
                raise InputError(
                    f"{name} has {size} bytes and claims to hold {held}; torch.save compresses nothing, and such a "
                    "file could fill the memory. Write the weights again with torch.save."
                )
            damaged = archive.testzip() if any(part.CRC for part in parts) else None
            _check_pickle(archive, parts, name)
    except InputError:
        raise
    except _BROKEN as error:
        raise InputError(f"{name} is damaged ({error}). {_AGAIN}") from error
    if damaged is not None:
        raise InputError(f"{name} is damaged: its part {damaged} is not what was written (CRC-32). {_AGAIN}")


def _size(file: Path | BinaryIO) -> int:
    return file.stat().st_size if isinstance(file, Path) else file.seek(0, 2)


def _check_pickle(archive: zipfile.ZipFile, parts: list[zipfile.ZipInfo], name: str) -> None:
    for part in parts:
        if part.filename.endswith("data.pkl"):
            with archive.open(part) as stream:
                check_instructions(stream, part.file_size, name, pickles=1)


def check_instructions(stream: BinaryIO, size: int, name: str, pickles: int = _LEGACY_PICKLES) -> None:
    """Refuse a pickle whose objects would fill the memory; one that cannot be read is left to the unpickler.

    Args:
        stream: at the start of ``pickles`` pickles.
        size: their bytes, and of what follows.
        name: the file's, for the message.
    """
    wasteful, count = "bytearray", 0
    try:
        for _ in range(pickles):
            for instruction, argument, _ in pickletools.genops(stream):
                count += 1
                makes_memory = instruction.name == "GLOBAL" and str(argument).endswith(f" {wasteful}")
                if makes_memory or (size > _SMALL_PICKLE and count > _MOST_INSTRUCTIONS):
                    what = f"asks for a {wasteful}" if makes_memory else f"has over {_MOST_INSTRUCTIONS} instructions"
                    raise InputError(
                        f"{name} {what}, which no checkpoint needs and which could fill the memory; it is refused. "
                        "Ask whoever made the file for its state_dict alone: torch.save(model.state_dict(), ...)."
                    )
    except InputError:
        raise
    except Exception:  # no pickle: pickletools has no exception of its own
        return


def check_tensors(weights: Mapping[str, Tensor], name: str) -> None:
    """Refuse what are no weights, whatever the file's state.

    Raises:
        InputError: every number is NaN; a tensor claims more numbers than the file holds for it.
    """
    stretched = [key for key, value in weights.items() if _claimed(value) > _held(value)]
    if stretched:
        raise InputError(f"{name} holds less of {stretched[0]} than its shape says. {_AGAIN}")
    numbers = [value for value in weights.values() if value.is_floating_point() and value.numel()]
    if numbers and all(value.isnan().all() for value in numbers):
        raise InputError(
            f"{name} holds NaN alone, no weights: the run that wrote it had failed by then. Give an earlier checkpoint."
        )


def _claimed(value: Tensor) -> int:
    return value.numel() * value.element_size() if value.layout == torch.strided and not value.is_quantized else 0


def _held(value: Tensor) -> int:
    return value.untyped_storage().nbytes() if value.layout == torch.strided else 0


def save_safetensors(weights: Mapping[str, Tensor], path: Path) -> None:
    """Write a ``.safetensors`` file with a checksum in its metadata, which ``check_safetensors`` compares.

    Raises:
        OSError: it cannot be written.
    """
    try:
        save_file(dict(weights), path, metadata={"format": "pt", _CHECKSUM: _UNKNOWN})
    except SafetensorError as error:  # a full disk too
        raise OSError(str(error)) from error
    checksum, metadata, header = _read_checksum(path)
    if metadata.get(_CHECKSUM) != _UNKNOWN:
        raise RuntimeError(f"{path} lost its metadata: safetensors has changed its format")
    entry = json.dumps(_CHECKSUM) + ":" + json.dumps(_UNKNOWN)
    place = header.index(entry.encode()) + len(entry) - 1 - len(_UNKNOWN)
    with path.open("r+b") as stream:
        stream.seek(struct.calcsize("<Q") + place)
        stream.write(checksum.encode())


def check_safetensors(path: Path) -> None:
    """Compare a ``.safetensors`` file with the checksum in its metadata, if it has one.

    Raises:
        InputError: they differ.
        ValueError, struct.error: it is no such file.
    """
    checksum, metadata, _ = _read_checksum(path)
    if metadata.get(_CHECKSUM, checksum) != checksum:
        raise InputError(f"{path} is damaged: its content is not what was written (CRC-32). {_AGAIN}")


def _read_checksum(path: Path) -> tuple[str, dict[str, Any], bytes]:
    """CRC-32 of the tensors' names, types, shapes and bytes, and the metadata and header that the file has."""
    with path.open("rb") as stream:
        (length,) = struct.unpack("<Q", stream.read(struct.calcsize("<Q")))
        if length > _LONGEST_HEADER:
            raise ValueError(f"its header claims {length} bytes")
        header = stream.read(length)
        tensors = json.loads(header)
        metadata = tensors.pop("__metadata__", {})
        value = zlib.crc32(json.dumps(tensors, sort_keys=True).encode())
        for block in _blocks(stream):
            value = zlib.crc32(block, value)
    return f"{value:08x}", metadata, header


def _blocks(stream: BinaryIO) -> Iterator[bytes]:
    while block := stream.read(_BLOCK):
        yield block
