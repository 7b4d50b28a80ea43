"""Exceptions whose text is meant for the user."""


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was given, what is allowed and what to do.

    The command-line tools print it as their one message and leave with exit code 2.
    """


class TrainingStopped(RuntimeError):
    """A run ended itself because going on would be of no use; the text says at which step, why and what to do.

    The command-line tools print it as their one message and leave with exit code 1.
    """
