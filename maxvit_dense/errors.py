"""Exceptions whose text is meant for the user, and how such texts list things."""

from collections.abc import Iterable
from itertools import islice


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was given, what is allowed and what to do.

    The command-line tools print it as their one message and leave with exit code 2.
    """


class TrainingStopped(RuntimeError):
    """A run ended itself because going on would be of no use; the text says at which step, why and what to do.

    The command-line tools print it as their one message and leave with exit code 1.
    """


def listed(items: Iterable[object], shown: int = 5) -> str:
    """The first few of some items, for a message: "a, b, ..."."""
    first = list(islice(items, shown + 1))
    return ", ".join(map(str, first[:shown])) + (", ..." if len(first) > shown else "")
