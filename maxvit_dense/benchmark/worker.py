"""One network in one process: built, compared with its reference, then run once whenever it is told to."""

import contextlib
import math
import random
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from . import networks
from .counting import count
from .memory import PeakMemory
from .specs import Model, Size, Workload

# A repetition of a fast model is as many calls as take this long, so that the clock and the pipe do not count.
LEAST_SECONDS = 0.2
_SLOW_SECONDS = 5.0  # a first call of an eager model that took so long is warm-up enough
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}

# Largest difference allowed, in units of the reference's largest value. Measured with MaxViT-T at 224 against timm and
# torchvision (PyTorch 2.14.1, CPU): outputs 3e-7 in eval and 2e-6 in training for float32, 7e-3 and 9e-3 for bfloat16,
# 2.7e-2 for maps; the first weight's gradient, which has come through all layers twice, 4e-5 and 0.14.
# float16 has 8 times bfloat16's precision.
TOLERANCES = {"fp32": 1e-4, "fp16": 1e-2, "bf16": 6e-2}
GRADIENT_TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2, "bf16": 0.4}


class Runner:
    """A model that does its workload once a call.

    Args:
        model: what is measured.
        workload: with the model's own size and dtype in place (``Workload.of``).
        dynamic: compile with free sizes.
    """

    def __init__(self, model: Model, workload: Workload, dynamic: bool = False):
        # "fp32" means it: cuDNN would take TF32 for convolutions, with 10 bits.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cuda.matmul.allow_tf32 = False
        self.model, self.workload = model, workload
        layout = torch.channels_last if "channels_last" in model.flags else torch.contiguous_format
        self.network = networks.build(model, workload).to(device=workload.device, memory_format=layout)
        self.images = networks.images_for(workload).to(device=workload.device, memory_format=layout)
        compiled = "compile" in model.flags
        self.call: Callable = torch.compile(self.network, dynamic=dynamic) if compiled else self.network

    def __call__(self, images: Tensor | None = None) -> list[Tensor]:
        """Runs once; returns the outputs. In training the gradients are there until the next call."""
        train = self.workload.mode == "train"
        if train:
            self.network.zero_grad(set_to_none=True)
        with torch.set_grad_enabled(train), self._autocast():
            outputs = self.call(self.images if images is None else images)
            outputs = list(outputs) if isinstance(outputs, list | tuple) else [outputs]
            loss = sum(output.float().square().mean() for output in outputs) if train else None
        if train:
            loss.backward()
        return outputs

    def _autocast(self) -> contextlib.AbstractContextManager:
        dtype = _AUTOCAST.get(self.workload.dtype)
        return torch.autocast(self.workload.device, dtype) if dtype else contextlib.nullcontext()

    def results(self) -> list[Tensor]:
        """What is compared: outputs, and in training the gradient that came through all layers, in fp32 on the CPU."""
        found = self()
        if self.workload.mode == "train":
            found = [*found, _first_weight(self.network).grad]
        found = [value.detach().float().cpu() for value in found]
        self.network.zero_grad(set_to_none=True)
        return found


def _first_weight(network: nn.Module) -> Tensor:
    return next(p for p in network.parameters() if p.dim() == 4)


def largest_error(found: list[Tensor], wanted: list[Tensor]) -> float:
    """Largest difference of any result, in units of that result's largest value; infinite for NaN or other shapes."""
    if [f.shape for f in found] != [w.shape for w in wanted]:
        return math.inf
    errors = []
    for f, w in zip(found, wanted, strict=True):
        error = ((f - w).abs().max() / w.abs().max().clamp_min(1e-12)).item()
        errors.append(error if math.isfinite(error) else math.inf)
    return max(errors)


def judge(found: list[Tensor], wanted: list[Tensor], workload: Workload) -> tuple[float, float]:
    """Error and tolerance of the result that is worst for its tolerance; in training the last one is a gradient."""
    if len(found) != len(wanted):
        return math.inf, TOLERANCES[workload.dtype]
    tolerances = [TOLERANCES[workload.dtype]] * len(wanted)
    if workload.mode == "train":
        tolerances[-1] = GRADIENT_TOLERANCES[workload.dtype]
    errors = [largest_error([f], [w]) for f, w in zip(found, wanted, strict=True)]
    return max(zip(errors, tolerances, strict=True), key=lambda pair: pair[0] / pair[1])


class Worker:
    """Answers the commands of `session`, which are its public methods.

    Args:
        model, workload: see ``Runner``.
        reference: file of the results that the model's must equal; written by the first that computes them.
        reference_model: whose results these are.
        threads: of PyTorch; None for its default.
    """

    def __init__(self, model: Model, workload: Workload, reference_model: Model, reference: Path, threads: int | None):
        if threads:
            torch.set_num_threads(threads)
        self.model, self.workload = model, workload
        self.reference_model, self.reference = reference_model, reference
        self.runner: Runner | None = None
        self.calls = 1
        self.memory = PeakMemory(workload.device)
        self.peak = 0
        self.first = 0.0

    def write_reference(self) -> None:
        """Computes the reference's own results."""
        workload = replace(self.workload, dtype="fp32")
        torch.save(Runner(self.reference_model, workload).results(), self.reference)

    def prepare(self) -> dict:
        """Builds, counts, compares and warms up.

        Returns:
            error and tolerance of the comparison, memory and time of the first call, and what `counting.Work` counts;
            see ``Row`` for units.
        """
        counted = networks.build(networks.counted_as(self.model, self.workload.size), self.workload)
        work = count(counted, self.workload)
        del counted
        self.runner = Runner(self.model, self.workload)
        self.memory.reset()
        started = time.perf_counter()
        found = self.runner.results()
        self.first = time.perf_counter() - started
        self.peak = self.memory.read()
        if not self.reference.exists():  # this model is the reference
            torch.save(found, self.reference)
        error, tolerance = judge(found, torch.load(self.reference, weights_only=True), self.workload)
        if error <= tolerance:
            self._warm_up()
        weights = sum(p.nbytes for p in [*self.runner.network.parameters(), *self.runner.network.buffers()])
        item = 4 if self.workload.dtype == "fp32" else 2
        return dict(
            error=error,
            tolerance=tolerance,
            memory=self.peak,
            first_call=self.first,
            flops=work.flops,
            least_bytes=work.least_bytes(item) if self.workload.mode == "eval" else None,
            weight_bytes=weights,
        )

    def _warm_up(self) -> None:
        seconds = self.first
        compiled = "compile" in self.model.flags
        if self.first < _SLOW_SECONDS or compiled:
            self.memory.reset()
            self.repeat()
            if compiled:  # the first call's memory was the compiler's too
                self.peak = self.memory.read()
            seconds = self.repeat()
        self.calls = max(1, math.ceil(LEAST_SECONDS / seconds))

    def repeat(self) -> float:
        """Seconds a call of one repetition."""
        self._synchronize()
        started = time.perf_counter()
        for _ in range(self.calls):
            self.runner()
        self._synchronize()
        seconds = (time.perf_counter() - started) / self.calls
        self.runner.network.zero_grad(set_to_none=True)
        return seconds

    def _synchronize(self) -> None:
        if self.workload.device == "cuda":
            torch.cuda.synchronize()

    def random_sizes(self, steps: int, seed: int = 0) -> dict:
        """Runs images of random sizes, from half a side of the workload's up to it, compiled with free sizes.

        Returns:
            compilations; seconds of each step, those that compile among them; error of the last step against the
            network as it is without compilation.
        """
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        runner = Runner(self.model, self.workload, dynamic=True)
        draw = random.Random(seed)
        seconds = []
        for _ in range(steps):
            size = tuple(draw.randint(side // 2, side) for side in self.workload.size)
            images = self._images(size)
            started = time.perf_counter()
            found = runner(images)
            self._synchronize()
            seconds.append(time.perf_counter() - started)
        runner.call = runner.network
        error = largest_error(_detached(found), _detached(runner(images)))
        compilations = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        return dict(compilations=compilations, seconds=seconds, error=error, tolerance=TOLERANCES[self.workload.dtype])

    def _images(self, size: Size) -> Tensor:
        workload = replace(self.workload, size=size)
        return networks.images_for(workload).to(self.workload.device)


def _detached(results: list[Tensor]) -> list[Tensor]:
    return [value.detach().float() for value in results]
