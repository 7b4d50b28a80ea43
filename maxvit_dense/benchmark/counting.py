"""Counts what a piece of PyTorch code asks of a device: launches, bytes, operations, memory; no device is needed."""

import math
import weakref
from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import conv_flop_count, flop_registry

_aten = torch.ops.aten

# What only makes room, or stands for no work of the device.
_NO_LAUNCH = {
    _aten.empty.memory_format,
    _aten.empty_like.default,
    _aten.empty_strided.default,
    _aten.new_empty.default,
    _aten.new_empty_strided.default,
}
# Operators that read of their first tensor no more than what they return.
_GATHERS = {_aten.index_select.default, _aten.index.Tensor, _aten.gather.default, _aten.embedding.default}
# Operators in place that read nothing of what they write over.
_OVERWRITES = {_aten.copy_.default, _aten.fill_.Scalar, _aten.fill_.Tensor, _aten.zero_.default}
# Operators whose result the host must have before it goes on.
_WAITS = {_aten._local_scalar_dense, _aten.nonzero, _aten.masked_select, _aten.equal, _aten._unique2}


@dataclass
class Operator:
    """One launch: its name, bytes read and written, operations of matrix products and convolutions, number format."""

    name: str
    read: int
    written: int
    operations: int
    dtype: torch.dtype

    @property
    def moved(self) -> int:
        return self.read + self.written


@dataclass
class Counts:
    """What ran.

    Attributes:
        launches: operators that are no views, in order.
        peak: most bytes of results alive at one time; what existed before is not counted.
        waits: names of operators that make the host wait for the device, with a count each.
    """

    launches: list[Operator] = field(default_factory=list)
    peak: int = 0
    waits: dict[str, int] = field(default_factory=dict)

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return sum(operator.moved for operator in self.launches)

    @property
    def operations(self) -> int:
        """A multiplication and an addition are two."""
        return sum(operator.operations for operator in self.launches)


def _tensors(values) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Bytes that tensors hold in memory; what was expanded counts once."""
    return sum(
        math.prod(n for n, stride in zip(t.shape, t.stride(), strict=True) if stride or n == 0) * t.element_size()
        for t in tensors
    )


class Counter(TorchDispatchMode):
    """Counts the operators that run while it is active: ``with Counter() as counter: ...``, then ``counter.counts``.

    Bytes are those of each operator's arguments and results, once each, as if nothing stayed in a cache. An operator
    counts as one launch, though some kernels of PyTorch are two or three.
    """

    def __init__(self):
        super().__init__()
        self.counts = Counts()
        self._alive = 0
        self._known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.namespace == "prim":
            return result
        given, made = _tensors((args, kwargs)), _tensors(result)
        self._note_waits(func, given, made)
        if self._makes(func, given, made):
            operator = _measured(func, args, kwargs, result, given, made)
            if operator.moved:  # nothing is launched for empty tensors
                self.counts.launches.append(operator)
        held = {id(t.untyped_storage()) for t in given}
        for tensor in made:
            if id(tensor.untyped_storage()) not in held:
                self._follow(tensor.untyped_storage())
        return result

    @staticmethod
    def _makes(func, given: list[Tensor], made: list[Tensor]) -> bool:
        """Whether an operator computes, rather than looking at memory in another way."""
        if func in _NO_LAUNCH or torch.Tag.inplace_view in func.tags:
            return False
        if func._schema.is_mutable or not made:
            return True
        held = {id(t.untyped_storage()) for t in given}
        return any(id(t.untyped_storage()) not in held for t in made)

    def _note_waits(self, func, given: list[Tensor], made: list[Tensor]) -> None:
        leaves = any(t.device.type == "cpu" for t in made) and any(t.device.type == "cuda" for t in given)
        if func.overloadpacket in _WAITS or (leaves and func is _aten._to_copy.default):
            self.counts.waits[func.overloadpacket.__name__] = self.counts.waits.get(func.overloadpacket.__name__, 0) + 1

    def _follow(self, storage) -> None:
        """Counts a new piece of memory until it is given back."""
        if id(storage) in self._known:
            return
        key, size = id(storage), storage.nbytes()
        self._known.add(key)
        self._alive += size
        self.counts.peak = max(self.counts.peak, self._alive)
        weakref.finalize(storage, self._forget, key, size).atexit = False

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._alive -= size


def _measured(func, args, kwargs, result, given: list[Tensor], made: list[Tensor]) -> Operator:
    places = zip(args, func._schema.arguments, strict=False)
    targets = {id(given) for given, argument in places if argument.is_write}
    operations = _operations(func, args, kwargs, result)
    read = [t for t in given if not (func in _OVERWRITES and id(t) in targets)]
    if func in _GATHERS:
        read = [*given[1:], *made]
    written = made or [t for t in given if id(t) in targets]
    kind = next((t.dtype for t in given if t.is_floating_point()), torch.float32)
    return Operator(func.overloadpacket.__name__, _bytes(read), _bytes(written), operations, kind)


def _operations(func, args, kwargs, result) -> int:
    """By PyTorch's counter, but for a convolution's backward pass, where that one ignores groups.

    Each gradient that is wanted, of the image and of the weight, has the products of the convolution itself.
    """
    if func is _aten.convolution_backward.default:
        gradient, image, weight, transposed, wanted = args[0], args[1], args[2], args[7], args[10]
        return sum(wanted[:2]) * conv_flop_count(image.shape, weight.shape, gradient.shape, transposed=transposed)
    count = flop_registry.get(func.overloadpacket)
    return count(*args, **kwargs, out_val=result) if count else 0
