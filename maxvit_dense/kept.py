"""Tensors that depend on sizes alone, made once and kept."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, wraps

import torch
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

_caches: list = []
_keeps_fakes = False


def kept(count: int) -> Callable:
    """Decorator: the last ``count`` results of a function of hashable arguments are kept.

    Not in dispatch modes, whose tensors (fake ones, for example) must not outlive them, but in :func:`keeping_fakes`.
    """

    def decorate(make: Callable) -> Callable:
        # Outside of inference mode: training could not use what an evaluation made.
        cached = lru_cache(maxsize=count)(torch.inference_mode(False)(make))
        _caches.append(cached)

        @wraps(make)
        def find(*key):
            return (cached if _keeps_fakes or not is_in_torch_dispatch_mode() else make)(*key)

        find.cache_info = cached.cache_info
        return find

    return decorate


@contextmanager
def keeping_fakes() -> Iterator[None]:
    """In here fake tensors are kept as real ones are; all is forgotten at the start and at the end."""
    global _keeps_fakes
    _forget()
    _keeps_fakes = True
    try:
        yield
    finally:
        _keeps_fakes = False
        _forget()


def _forget() -> None:
    for cached in _caches:
        cached.cache_clear()
