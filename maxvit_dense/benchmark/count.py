"""What a row of a benchmark asks of its device, counted on tensors without values."""

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from . import worker
from .chips import CHIPS, Chip
from .counting import Counter, Counts
from .fake import fake_device, move_to_fake, run_backward
from .rows import Group, Row


def count(row: Row) -> Counts:
    """Counts the second call of a row, after what the first makes once; an optimizer's step is not in it."""
    device, train = "cuda" if "cuda" in row.flags else "cpu", "train" in row.flags
    layout = torch.channels_last if "channels_last" in row.flags else torch.contiguous_format
    mode, network = FakeTensorMode(), worker.build(row).to(memory_format=layout)
    move_to_fake(network, device, mode)
    with fake_device(device, mode, worker.autocast_dtype(row)):
        images = torch.empty(row.batch, 3, *row.size, device=device).contiguous(memory_format=layout)
        _step(network, images, train)
        with Counter() as counter:
            _step(network, images, train)
    return counter.counts


def _step(network: nn.Module, images: Tensor, train: bool) -> None:
    with torch.set_grad_enabled(train):
        loss = worker.run_network(network, images, train)
    if train:
        run_backward(loss) if images.is_cuda else loss.backward()
        network.zero_grad(set_to_none=True)


def measure(group: Group, chips: tuple[Chip, ...] = CHIPS) -> list[dict]:
    """Counts of each row of a group; a row that fails says why under "problem"."""
    results = []
    for network, row in zip(group.networks, group.rows, strict=True):
        result = dict(work=group.work, network=network, problem="")
        try:
            counts = count(row)
        except Exception as error:  # a network may fail in any way
            result["problem"] = f"{type(error).__name__}: {error}".splitlines()[0]
        else:
            result |= dict(launches=len(counts.launches), moved=counts.moved, operations=counts.operations)
            result |= dict(peak=counts.peak, waits=counts.waits)
            result["least_seconds"] = {chip.name: chip.least_seconds(counts) for chip in chips}
        results.append(result)
    return results


def table(group: Group, results: list[dict], chips: tuple[Chip, ...] = CHIPS) -> str:
    """A group as a Markdown table."""
    head = ["network", "launches", "moved GB", "TFLOP", "peak GiB", "host waits", *(f"{c.name} ms" for c in chips)]
    lines = [head, ["---"] * len(head), *(_cells(result, chips) for result in results)]
    return "\n".join([f"{group.work}:", "", *(f"| {' | '.join(cells)} |" for cells in lines), ""])


def _cells(result: dict, chips: tuple[Chip, ...]) -> list[str]:
    if result["problem"]:
        return [result["network"], f"failed: {result['problem']}", *[""] * (4 + len(chips))]
    scaled = [result["moved"] / 1e9, result["operations"] / 1e12, result["peak"] / 2**30]
    least = [result["least_seconds"][chip.name] * 1e3 for chip in chips]
    waits = str(sum(result["waits"].values()))
    cells = [result["network"], str(result["launches"]), *(f"{value:.3g}" for value in scaled), waits]
    return [*cells, *(f"{value:.3g}" for value in least)]
