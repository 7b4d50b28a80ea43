"""The machine: its name, and the rates that it reaches, measured."""

import os
import platform
import time
from datetime import datetime, timezone

import timm
import torch
import torchvision

from .specs import Workload

_SIDES = {"cpu": (1024, 2048), "cuda": (4096, 8192)}
_COPY_BYTES = {"cpu": 2**28, "cuda": 2**31}
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def describe(threads: int | None) -> dict[str, str | int | None]:
    """Names and versions that figures depend on."""
    return dict(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        threads=threads or torch.get_num_threads(),
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        torch=torch.__version__,
        torchvision=torchvision.__version__,
        timm=timm.__version__,
        date=datetime.now(timezone.utc).isoformat(timespec="seconds"),
    )


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class PeakWorker:
    """Measures the machine beside the models, a repetition each round, so that it drifts as they do.

    Args:
        workload: whose device and dtype are measured.
        threads: of PyTorch; None for its default.
    """

    def __init__(self, workload: Workload, threads: int | None):
        if threads:
            torch.set_num_threads(threads)
        self.device = workload.device
        # "fp32" means it, as for the models.
        torch.backends.cuda.matmul.allow_tf32 = False
        dtype = _DTYPES[workload.dtype]
        self.factors = [torch.randn(n, n, device=self.device).to(dtype) for n in _SIDES[self.device]]
        self.products = [torch.empty_like(factor) for factor in self.factors]
        self.source = torch.zeros(_COPY_BYTES[self.device] // 4, device=self.device)
        self.target = torch.zeros_like(self.source)

    def prepare(self) -> dict:
        self.repeat()
        return {}

    def repeat(self) -> dict:
        """flop_rate: operations a second of the fastest of a few square products; byte_rate: bytes read and written a
        second by a large copy."""
        rates = []
        for factor, product in zip(self.factors, self.products, strict=True):
            seconds = self._seconds(lambda a=factor, b=product: torch.mm(a, a, out=b))
            rates.append(2 * factor.shape[0] ** 3 / seconds)
        seconds = self._seconds(lambda: self.target.copy_(self.source))
        return dict(flop_rate=max(rates), byte_rate=2 * self.source.nbytes / seconds)

    def _seconds(self, action) -> float:
        """The faster of two, the second of which finds caches and clock as the models do."""
        return min(self._once(action), self._once(action))

    def _once(self, action) -> float:
        if self.device == "cuda":
            torch.cuda.synchronize()
        started = time.perf_counter()
        action()
        if self.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - started
