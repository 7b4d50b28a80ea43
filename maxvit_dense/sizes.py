"""Arithmetic on map sizes that stays free of branches while a program is traced, exported or compiled.

Asking a symbolic size a question compiles one program per answer, so only what is certain for every size may be asked;
callers compute the same result, a little slower, when the answer is not certain.
"""

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true


def ceil_div(length: int, by: int) -> int:
    """length / by, rounded up."""
    return (length + by - 1) // by


def is_exporting() -> bool:
    """Whether torch.export is tracing; PyTorch before 2.7 does not tell."""
    ask = getattr(torch.compiler, "is_exporting", None)
    return ask is not None and ask()


def is_multiple(length: int, of: int) -> bool:
    """Whether ``of`` divides ``length``; of a symbolic length, whether that is certain."""
    if torch.jit.is_scripting():
        return length % of == 0
    else:  # spelled out: TorchScript must not compile this line
        # torch.jit.trace hands sizes over as tensors, and would record the answer for the size that it sees.
        return not torch.jit.is_tracing() and statically_known_true(length % of == 0)


def is_same(a: int, b: int) -> bool:
    """Whether two sizes are equal; of symbolic sizes, whether that is certain."""
    if torch.jit.is_scripting():
        return a == b
    else:
        return not torch.jit.is_tracing() and statically_known_true(a == b)
