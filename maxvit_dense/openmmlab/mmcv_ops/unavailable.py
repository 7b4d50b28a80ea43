"""What stands in for the operators that need mmcv compiled: an error that says how to compile it."""

from collections.abc import Callable
from functools import cache
from typing import NoReturn


def _compile_command() -> str:
    """The command that compiles the installed version of mmcv.

    mmcv's setup.py compiles the operators whenever it can import torch, hence no build isolation. pip keeps
    the wheel without operators in its cache and would install that one again, hence no cache.
    """
    import mmcv

    return (
        "pip install 'setuptools>=80' packaging && "
        "pip install --no-build-isolation --no-deps --force-reinstall --no-cache-dir "
        f"--no-binary onedl-mmcv onedl-mmcv=={mmcv.__version__}"
    )


def unavailable_error(what: str) -> NotImplementedError:
    """The error to raise for an operator, or a mode of one, that is not replaced."""
    return NotImplementedError(
        f"{what} needs mmcv's compiled operators; this mmcv was installed without them. Compile it with\n"
        f"    {_compile_command()}\n"
        "which takes a C++17 compiler and about a quarter of an hour, and for operators on a GPU nvcc of "
        "PyTorch's CUDA version (set FORCE_CUDA=1 if no GPU is present while compiling). mmcv 2.3.6 compiles "
        "with torch 2.11, not with torch 2.14."
    )


@cache
def unavailable(name: str) -> Callable[..., NoReturn]:
    """A callable named `name` that raises NotImplementedError whatever it is given."""

    def operator(*args: object, **kwargs: object) -> NoReturn:
        raise unavailable_error(f"mmcv's operator {name!r}")

    operator.__name__ = operator.__qualname__ = name
    return operator
