"""Arithmetic on map sizes that stays free of branches while a program is traced, exported or compiled.

Asking a symbolic size a question compiles one program per answer, so only what is certain for every size may be asked;
callers compute the same result, a little slower, when the answer is not certain.
"""

import torch
from torch.fx.experimental.symbolic_shapes import statically_known_true

_COMPILER_ANSWERS = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 8)


def ceil_div(length: int, by: int) -> int:
    """length / by, rounded up."""
    return (length + by - 1) // by


@torch.compiler.assume_constant_result  # PyTorch 2.11's compiler takes the answer for yes in every compilation
def is_exporting() -> bool:
    """Whether torch.export is tracing; PyTorch before 2.7 does not tell."""
    ask = getattr(torch.compiler, "is_exporting", None)
    return ask is not None and ask()


def _is_certain(answer: bool) -> bool:
    """Whether an answer about sizes holds for every size that they may take."""
    # torch.jit.trace hands sizes over as tensors, and would record the answer for the size that it sees; the compiler
    # of PyTorch before 2.8 cannot be asked.
    recorded = torch.jit.is_tracing() or (torch.compiler.is_compiling() and not _COMPILER_ANSWERS)
    return not recorded and statically_known_true(answer)


def is_multiple(length: int, of: int) -> bool:
    """Whether ``of`` divides ``length``; of a symbolic length, whether that is certain."""
    if torch.jit.is_scripting():
        return length % of == 0
    else:  # spelled out: TorchScript must not compile this line
        return _is_certain(length % of == 0)


def is_same(a: int, b: int) -> bool:
    """Whether two sizes are equal; of symbolic sizes, whether that is certain."""
    if torch.jit.is_scripting():
        return a == b
    else:
        return _is_certain(a == b)
