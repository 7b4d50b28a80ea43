"""What a config's entry fails with, said by its key."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ...errors import InputError
from .parts import shown

_LONGEST_REASON = 600  # characters


@contextmanager
def building(key: str, given: Any = None, what: str = "built") -> Iterator[None]:
    """What fails inside is an InputError that names ``key``.

    Args:
        key: dotted, of the config.
        given: what stands there.
        what: cannot be done with it.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # constructors of every kind, of several packages
        held = "" if given is None else f" It is {shown(_plain(given))}."
        raise InputError(f"{key} cannot be {what}: {reason(error)}.{held}") from error


def reason(error: Exception) -> str:
    """One line of an exception: its type where its text alone would say little."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    text = text.partition(" Please check whether the value")[0].rstrip(".")[:_LONGEST_REASON]
    if isinstance(error, InputError | ValueError | AssertionError) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
