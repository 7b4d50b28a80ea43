"""Where a position of an image looks: the weights of its block and its grid window at each stage of a network."""

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import WindowAttention
from .partition import Partition

_STAGE = re.compile(r"stages[._](\d+)")


class Attended(NamedTuple):
    """What one position takes from its window, the mean of all heads.

    Attributes:
        stage: from 0.
        grid: whether it is the stage's last grid window, or its last block window.
        weights: (h, w) of the stage's map; they sum to 1.
        window: (h, w) bool, the positions of the window.
    """

    stage: int
    grid: bool
    weights: Tensor
    window: Tensor


def attended(net: nn.Module, image: Tensor, row: float, column: float) -> list[Attended]:
    """What the position at (row, column), shares of height and width, attends to: stage by stage, block then grid.

    Args:
        net: a network with this package's attention layers, or a module that holds one and passes the image on.
        image: (1, 3, H, W), normalised.
        row: from 0 to 1, top to bottom.
        column: from 0 to 1, left to right.
    """
    with torch.no_grad(), _watched(net) as seen:
        net(image)
    found = []
    for (stage, grid), (size, partition, weights) in sorted(seen.items()):
        height, width = size
        y, x = min(int(row * height), height - 1), min(int(column * width), width - 1)
        slots = partition.tokens.shape[1]
        window, place = divmod(int(partition.slots[y * width + x]), slots)
        tokens = partition.tokens[window]
        inside = torch.zeros(height * width, dtype=torch.bool, device=tokens.device).index_fill(0, tokens, True)
        # Slots outside the map read another token of theirs, and have no weight.
        given = torch.zeros(height * width, device=tokens.device)
        given = given.index_add(0, tokens, weights[window, :, place].mean(0).float())
        found.append(Attended(stage, grid, given.view(size), inside.view(size)))
    return found


@contextmanager
def _watched(net: nn.Module) -> Iterator[dict]:
    """Fills (map's size, partition, weights) of each stage's last block and last grid layer as ``net`` runs."""
    seen: dict[tuple[int, bool], tuple[tuple[int, int], Partition, Tensor]] = {}
    with ExitStack() as hooks:
        for name, layer in net.named_modules():
            if isinstance(layer, WindowAttention):
                stage = int(_STAGE.search(name).group(1))
                _watch(hooks, layer, seen, stage)
        yield seen


def _watch(hooks: ExitStack, layer: WindowAttention, seen: dict, stage: int) -> None:
    call = {}

    def note_call(module: nn.Module, args: tuple) -> None:
        call.update(size=tuple(args[0].shape[1:3]), partition=args[1])

    def note_weights(module: nn.Module, args: tuple) -> None:
        partition = call["partition"]
        seen[stage, partition.grid] = call["size"], partition, args[0]

    hooks.enter_context(layer.register_forward_pre_hook(note_call))
    hooks.enter_context(layer.attn_drop.register_forward_pre_hook(note_weights))
