"""What the terminal leaves out of a run's log: the file in the work dir has all of it."""

import logging

# How messages begin that people cannot act on, or that are hundreds of lines: config, environment, the hooks' order, a
# line for each parameter group, and what the packages say of their own outdated calls.
_LEFT_OUT = ("Config:", "----", "Hooks will be executed", "paramwise_options", '"FileClient"', '"HardDiskBackend"')


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return not record.getMessage().lstrip().startswith(_LEFT_OUT)


def quieten(logger: logging.Logger) -> None:
    """Leave long and idle messages out of what ``logger`` shows, not out of the files that it writes."""
    for handler in logger.handlers:
        if not isinstance(handler, logging.FileHandler) and not any(isinstance(f, _Quiet) for f in handler.filters):
            handler.addFilter(_Quiet())
