"""One row in one process: built, warmed up, then run whenever it is asked to."""

import contextlib
import ctypes
import math
import time

import timm
import torch
import torchvision
from timm.utils import reparameterize_model
from torch import Tensor, nn

from ..sizes import ceil_div
from .rows import Row

_LEAST_SECONDS = 0.2  # a repetition of a fast network is as many calls as take this long
_step: "Step | None" = None  # of this process


class Step:
    """What one call of a row does, on random weights and images."""

    def __init__(self, row: Row):
        torch.manual_seed(0)
        self.row = row
        device = "cuda" if "cuda" in row.flags else "cpu"
        layout = torch.channels_last if "channels_last" in row.flags else torch.contiguous_format
        self.network = build(row).to(device=device, memory_format=layout)
        self.images = torch.randn(row.batch, 3, *row.size).to(device=device, memory_format=layout)
        self.called = torch.compile(self.network) if "compile" in row.flags else self.network
        dtype = autocast_dtype(row)
        self.calls = 1  # a repetition
        self.autocast = torch.autocast(device, dtype) if dtype else contextlib.nullcontext()

    def __call__(self) -> None:
        train = "train" in self.row.flags
        with torch.set_grad_enabled(train), self.autocast:
            loss = run_network(self.called, self.images, train)
        if train:
            loss.backward()
            self.network.zero_grad(set_to_none=True)


def autocast_dtype(row: Row) -> torch.dtype | None:
    """Number format of autocast, None for none."""
    formats = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return next((formats[flag] for flag in row.flags & formats.keys()), None)


def run_network(network: nn.Module, images: Tensor, train: bool) -> Tensor | None:
    """The forward pass and, for training, a loss of all results."""
    outputs = network(images)
    return sum(output.float().square().mean() for output in outputs) if train else None


class _Maps(nn.Module):
    """Lists of results: the last four feature maps, or scores alone."""

    def __init__(self, network: nn.Module, row: Row):
        super().__init__()
        self.network, self.features = network, "features" in row.flags
        self.options = dict(sizes=list(row.images)) if row.images else {}

    def forward(self, images: Tensor) -> list[Tensor]:
        if self.features:
            return self.network.forward_intermediates(images, indices=4, intermediates_only=True, **self.options)
        return [self.network(images, **self.options)]


def build(row: Row) -> nn.Module:
    """The network of a row on the CPU, in its mode."""
    options = {} if row.source != "ours" or row.window is None else dict(window_size=row.window)
    if row.source == "torchvision":
        options = dict(input_size=row.size) if row.name == "maxvit_t" else {}
        network = torchvision.models.get_model(row.name, weights=None, **options)
    else:
        network = timm.create_model(row.name, **options)
    if row.source == "timm" and hasattr(network, "set_input_size"):
        _set_timm_size(network, row)
    network.train("train" in row.flags)
    if row.flags & {"recompute", "cheap"}:
        network.set_grad_checkpointing("cheap" if "cheap" in row.flags else True)
    if "fold" in row.flags:
        network = reparameterize_model(network, inplace=True)
    return _Maps(network, row)


def _set_timm_size(network: nn.Module, row: Row) -> None:
    """timm's MaxViT has windows of 1/32 of the image by default; its Swin, left to itself, of 1/8 of the map."""
    ratio = tuple(ceil_div(side, 32) for side in row.size)
    if row.name.startswith("maxvit"):
        window = row.window if isinstance(row.window, tuple) else ratio
        network.set_input_size(row.size, window_size=window, grid_size=window)
    else:
        window = {"ratio": ratio, None: (7, 7)}.get(row.window, row.window)
        network.set_input_size(row.size, **(dict(window_size=window) if row.name.startswith("swin") else {}))


def start(row: Row, threads: int | None) -> int:
    """Builds a row's network, compiles it and warms it up; peak memory of a call in bytes, weights included.

    On CUDA that of PyTorch's allocator; on Linux the kernel's mark of resident memory, above that before the weights.
    """
    global _step
    if threads:
        torch.set_num_threads(threads)
    # "fp32" means it: cuDNN would take TF32, with 10 bits, for convolutions.
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    _step = Step(row)
    weights = sum(value.nbytes for value in [*_step.network.parameters(), *_step.network.buffers()])
    _step()
    _reset_peak(row)
    at_rest = 0 if "cuda" in row.flags else _resident("VmRSS") - weights
    _step.calls = math.ceil(_LEAST_SECONDS / repeat(1))
    return torch.cuda.max_memory_allocated() if "cuda" in row.flags else max(weights, _resident("VmHWM") - at_rest)


def _reset_peak(row: Row) -> None:
    if "cuda" in row.flags:
        torch.cuda.reset_peak_memory_stats()
        return
    # What malloc keeps for later would hide as much of the call's own.
    ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # some containers forbid it: then the mark is that of the first call
        with open("/proc/self/clear_refs", "w", encoding="ascii") as stream:
            stream.write("5")


def _resident(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as stream:
        return next(int(line.split()[1]) * 1024 for line in stream if line.startswith(f"{key}:"))


def repeat(calls: int | None = None) -> float:
    """Seconds a call of one repetition, of the row that this process has started."""
    calls = calls or _step.calls
    synchronize = torch.cuda.synchronize if "cuda" in _step.row.flags else lambda: None
    synchronize()
    started = time.perf_counter()
    for _ in range(calls):
        _step()
    synchronize()
    return (time.perf_counter() - started) / calls
