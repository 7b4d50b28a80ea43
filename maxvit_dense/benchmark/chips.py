"""What chips can do at best, and the least time that counted work takes on them."""

import time
from dataclasses import dataclass

import torch

from .counting import Counts


@dataclass(frozen=True)
class Chip:
    """Peak rates of a device: memory in bytes a second, matrix products in operations a second by number format."""

    name: str
    bandwidth: float
    rates: dict[torch.dtype, float]

    def least_seconds(self, counts: Counts) -> float:
        """Time if each operator ran at the chip's memory or matrix rate, whichever takes longer, and nothing else."""
        return sum(
            max(op.moved / self.bandwidth, op.operations / self.rates.get(op.dtype, self.rates[torch.float32]))
            for op in counts.launches
        )


def _chip(name: str, terabytes: float, fp32: float, half: float) -> Chip:
    half *= 1e12
    rates = {torch.float32: fp32 * 1e12, torch.bfloat16: half, torch.float16: half}
    return Chip(name, terabytes * 1e12, rates)


# Vendors' data sheets, dense, without TF32: "NVIDIA H100 Tensor Core GPU" (SXM5), "NVIDIA Ada GPU Architecture"
# (half precision with float32 sums).
CHIPS = (_chip("H100", 3.35, 66.9, 989.4), _chip("RTX 4090", 1.008, 82.6, 165.2))


def this_machine() -> Chip:
    """The CPU with the threads that PyTorch has, measured in about two seconds: a large copy, large products."""
    source = torch.zeros(2**26)
    target = torch.empty_like(source)
    bandwidth = 2 * source.nbytes / _fastest(lambda: target.copy_(source))
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(1024, 1024, dtype=dtype)
        rates[dtype] = 2 * 1024**3 / _fastest(lambda matrix=matrix: matrix @ matrix)
    return Chip("here", bandwidth, rates)


def _fastest(call, seconds: float = 0.4) -> float:
    call()
    found, end = [], time.perf_counter() + seconds
    while not found or time.perf_counter() < end:
        started = time.perf_counter()
        call()
        found.append(time.perf_counter() - started)
    return min(found)
