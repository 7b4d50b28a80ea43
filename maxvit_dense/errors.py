"""The one exception for input that cannot be used."""


class InputError(ValueError):
    """What the user gave cannot be used; the text says what was given, what is allowed and what to do.

    The command-line tools print it as their one message and leave with exit code 2.
    """
