"""Images of different sizes in one batch: each image's features are those of the image alone.

``images`` (B, C, H, W) is a canvas whose item i holds an image of (h_i, w_i) pixels in its top left corner. Inside the
network the real positions of all images lie in one list, image after image, row by row: a *packed* map (1, C, T, 1)
with T = sum(h_i * w_i) at the stride at hand. Whatever works position by position (BatchNorm, 1x1 convolutions, MLPs,
attention, whose windows are lists of positions anyway) takes it as it takes any map, so what the canvas holds elsewhere
exists nowhere. Only 3x3 convolutions and averages see neighbours: for them the positions are spread over canvases of
zeros, each image with its own padding, and what comes out at real positions is collected again.
"""

from collections.abc import Callable
from itertools import groupby
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ops.plain import partition_attention
from .partition import Partition
from .partition_cache import find_partitions
from .sizes import ceil_div, is_exporting


class Places(NamedTuple):
    """Where the positions of a packed map belong, at one stride. Lists are in packed order.

    Attributes:
        sizes: (h, w) of each image.
        canvas: (H, W) of the batch.
        finer_sizes, finer_canvas: the same at half the stride, where a step of stride 2 to here comes from.
        windows: attention window of each image; images of one window lie together.
        items: which item of the batch each image is.
    """

    sizes: list[tuple[int, int]]
    canvas: tuple[int, int]
    finer_sizes: list[tuple[int, int]]
    finer_canvas: tuple[int, int]
    windows: list[tuple[int, int]]
    items: list[int]


def _halved(places: Places) -> Places:
    """The places after a step of stride 2."""
    return places._replace(
        sizes=[_half(size) for size in places.sizes],
        canvas=_half(places.canvas),
        finer_sizes=places.sizes,
        finer_canvas=places.canvas,
    )


def _half(size: tuple[int, int]) -> tuple[int, int]:
    return ceil_div(size[0], 2), ceil_div(size[1], 2)


def is_recorded(x: Tensor) -> bool:
    """Whether a program for batches of any sizes is being made of the network, which cannot know those of an image."""
    if torch.jit.is_scripting():
        return True
    else:  # spelled out: TorchScript must not compile this line
        return not isinstance(x, Tensor) or torch.jit.is_tracing() or is_exporting()


def find_places(
    sizes: list[tuple[int, int]], canvas: tuple[int, int], window_for: Callable[[int, int], tuple[int, int]]
) -> Places | None:
    """Places of images of these sizes in pixels on a canvas; None if each fills it, and nothing needs to be done.

    Args:
        sizes: (h, w) of each item of the batch.
        canvas: (H, W) of the batch.
        window_for: the attention window of an image of h, w pixels.
    """
    if all(size == canvas for size in sizes):
        return None
    windows = [window_for(*size) for size in sizes]
    items = sorted(range(len(sizes)), key=windows.__getitem__)
    sizes = [sizes[i] for i in items]
    return Places(sizes, canvas, sizes, canvas, [windows[i] for i in items], items)


# Between packed maps and canvases


class _Frames(NamedTuple):
    """Images on canvases: image i of sizes[i] is on canvas items[i], its first position at origins[i]."""

    items: list[int]
    sizes: list[tuple[int, int]]
    origins: list[tuple[int, int]]

    def of(self, canvases: Tensor) -> list[Tensor]:
        """Each image's part of its canvas (H, W, C), (h, w, C)."""
        found = zip(self.items, self.sizes, self.origins, strict=True)
        return [canvases[item, top : top + h, left : left + w] for item, (h, w), (top, left) in found]


class _Spread(torch.autograd.Function):
    """Rows (T, C) to canvases (B, *canvas, C) of zeros; :class:`_Collect` undoes it."""

    @staticmethod
    def forward(ctx, rows: Tensor, frames: _Frames, canvas: tuple[int, int]) -> Tensor:
        ctx.frames = frames
        canvases = rows.new_zeros(len(frames.items), *canvas, rows.shape[1])
        parts = rows.split([h * w for h, w in frames.sizes])
        for image, part in zip(frames.of(canvases), parts, strict=True):
            image.copy_(part.view(image.shape))
        return canvases

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        return _Collect.apply(grad, ctx.frames), None, None


class _Collect(torch.autograd.Function):
    """Canvases (B, H, W, C) to the rows (T, C) of their images."""

    @staticmethod
    def forward(ctx, canvases: Tensor, frames: _Frames) -> Tensor:
        ctx.frames, ctx.canvas = frames, tuple(canvases.shape[1:3])
        return torch.cat([image.reshape(-1, canvases.shape[3]) for image in frames.of(canvases)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        return _Spread.apply(grad, ctx.frames, ctx.canvas), None


def _rows(x: Tensor) -> Tensor:
    """(1, C, T, 1) -> (T, C)."""
    return x.permute(0, 2, 3, 1).flatten(0, 2)


def _packed(rows: Tensor) -> Tensor:
    """(T, C) -> (1, C, T, 1)."""
    return rows[None, :, None].permute(0, 3, 1, 2)


def _spread(x: Tensor, frames: _Frames, canvas: tuple[int, int]) -> Tensor:
    """(1, C, T, 1) -> (B, C, *canvas), zero outside the frames."""
    return _Spread.apply(_rows(x), frames, canvas).permute(0, 3, 1, 2)


def _corners(items: list[int], sizes: list[tuple[int, int]]) -> _Frames:
    return _Frames(items, sizes, [(0, 0)] * len(items))


def _pack(canvases: Tensor, places: Places) -> Tensor:
    """(B, C, H, W) -> (1, C, T, 1)."""
    return _packed(_Collect.apply(canvases.permute(0, 2, 3, 1), _corners(places.items, places.sizes)))


def _unpack(x: Tensor, places: Places) -> Tensor:
    """(1, C, T, 1) -> (B, C, H, W), zero outside the images."""
    return _spread(x, _corners(places.items, places.sizes), places.canvas)


# What the layers of the network do for such a batch; ``places`` are those of their result


def convolve(conv: nn.Module, x: Tensor, places: Places, pads_same: bool = False) -> Tensor:
    """A 3x3 convolution of a packed map, as if each image were alone.

    Args:
        conv: of stride 1 or 2.
        x: (1, C, T, 1).
        places: of the result.
        pads_same: TensorFlow's SAME padding for stride 2, for a convolution that has none of its own.
    """
    halving = conv.stride[0] == 2
    sizes, canvas = (places.finer_sizes, places.finer_canvas) if halving else (places.sizes, places.canvas)
    frames = _corners(places.items, sizes)
    if pads_same:  # n % 2 zeros before an image, at least one after it
        frames = frames._replace(origins=[(h % 2, w % 2) for h, w in sizes])
        canvas = (2 * places.canvas[0] + 1, 2 * places.canvas[1] + 1)
    return _pack(conv(_spread(x, frames, canvas)), places)


def halve(x: Tensor, places: Places, pool: str) -> Tensor:
    """:func:`.mbconv.halve` of a packed map."""
    frames = _corners(places.items, places.finer_sizes)
    if pool == "mean3":
        return _pack(F.avg_pool2d(_spread(x, frames, places.finer_canvas), 3, 2, 1), places)
    if pool == "max3":
        inside = _spread(torch.ones_like(x[:, :1]), frames, places.finer_canvas) > 0
        canvases = _spread(x, frames, places.finer_canvas).masked_fill(~inside, float("-inf"))
        return _pack(F.max_pool2d(canvases, 3, 2, 1), places)
    means = F.avg_pool2d(_spread(x, frames, (2 * places.canvas[0], 2 * places.canvas[1])), 2)
    return _pack(means, places) * _edge_weights(x, places)


def _edge_weights(x: Tensor, places: Places) -> Tensor:
    """What a mean over 2x2 positions, zeros counted, is multiplied by for one over real positions: (1, 1, T, 1)."""
    weights = []
    for h, w in places.finer_sizes:
        weight = x.new_ones(_half((h, w)))
        weight[-1] *= 1 + h % 2
        weight[:, -1] *= 1 + w % 2
        weights.append(weight.flatten())
    return torch.cat(weights).view(1, 1, -1, 1)


def _by_image(rows: Tensor, places: Places) -> tuple[Tensor, ...]:
    return rows.split([h * w for h, w in places.sizes])


def means_of_images(x: Tensor, places: Places) -> Tensor:
    """Mean over each image's positions, (1, C, T, 1) -> (B, C, 1, 1) in packed order."""
    precise = x.dtype if x.dtype == torch.float64 else torch.float32
    means = [part.sum(0, dtype=precise) / part.shape[0] for part in _by_image(_rows(x), places)]
    return torch.stack(means)[:, :, None, None].to(x.dtype)


def scale_images(x: Tensor, factors: Tensor, places: Places) -> Tensor:
    """Each image's positions times its own factors: (1, C, T, 1) or (1, T, 1, C) by (B, C) or (B, 1)."""
    is_map = x.shape[3] == 1
    parts = _by_image(_rows(x) if is_map else x.flatten(0, 2), places)
    scaled = torch.cat([part * factor for part, factor in zip(parts, factors, strict=True)])
    return _packed(scaled) if is_map else scaled.view(x.shape)


def _joined(partitions: list[Partition], lengths: list[int]) -> Partition:
    """One partition of several maps laid end to end, whose windows have one size; windows inside their map first."""
    window_tokens = partitions[0].tokens.shape[1]
    whole = sum(p.whole for p in partitions)
    inside, at_edge, slots, outside, start = [], [], [], [], 0
    first_inside, first_at_edge = 0, whole
    for partition, length in zip(partitions, lengths, strict=True):
        tokens = partition.tokens + start
        inside.append(tokens[: partition.whole])
        at_edge.append(tokens[partition.whole :])
        window = partition.slots // window_tokens
        moved = torch.where(window < partition.whole, first_inside, first_at_edge - partition.whole)
        slots.append(partition.slots + moved * window_tokens)
        outside += [] if partition.outside is None else [partition.outside]
        start, first_inside = start + length, first_inside + partition.whole
        first_at_edge += tokens.shape[0] - partition.whole
    return Partition(
        partitions[0].window_size,
        torch.cat(inside + at_edge),
        torch.cat(slots),
        whole,
        torch.cat(outside) if outside else None,
        partitions[0].grid,
    )


def find_joined_partitions(like: Tensor, places: Places) -> tuple[list[Partition], list[Partition]]:
    """Block and grid partitions of a packed map: one of each for every window size in the batch."""
    blocks, grids = [], []
    for window, group in groupby(zip(places.windows, places.sizes, strict=True), key=lambda image: image[0]):
        sizes = [size for _, size in group]
        pairs = [find_partitions(like, h, w, window) for h, w in sizes]
        lengths = [h * w for h, w in sizes]
        blocks.append(_joined([block for block, _ in pairs], lengths))
        grids.append(_joined([grid for _, grid in pairs], lengths))
    return blocks, grids


def attend(qkv: Tensor, rel_pos: nn.Module, partitions: list[Partition], num_heads: int) -> Tensor:
    """Attention within the windows of a packed map, (1, T, 1, 3 * C) -> (1, T, 1, C), by the plain backend."""
    parts = qkv.split([partition.slots.numel() for partition in partitions], dim=1)
    tables = [rel_pos(partition.window_size) for partition in partitions]
    found = zip(parts, tables, partitions, strict=True)
    return torch.cat([partition_attention(part, table, partition, num_heads) for part, table, partition in found], 1)


@torch.compiler.disable  # each batch has sizes of its own: nothing that a program could be compiled for
def forward_maps(
    stem: nn.Module, stages: nn.ModuleList, norm: nn.Module, images: Tensor, places: Places, indices: list[int]
) -> tuple[Tensor, list[Tensor]]:
    """:meth:`.maxvit.MaxViT.forward_maps` of a batch of images that do not fill their canvases."""
    x = _pack(images, places)
    places = _halved(places)
    x = stem(x, places)
    maps = [_unpack(x, places)] if 0 in indices else []
    for i, stage in enumerate(stages):
        places = _halved(places)
        x = stage(x, (0, 0), places)
        if i + 1 in indices:
            maps.append(_unpack(x, places))
    return _unpack(norm(x), places), maps


def pool_images(pool: nn.Module, x: Tensor, sizes: list[tuple[int, int]], halvings: int) -> Tensor:
    """Each image's pooled features, (B, C, h, w) -> (B, C, 1, 1), of a map ``halvings`` steps of stride 2 down.

    A classifier's own pooling leaves them as they are. Without pooling the map passes unchanged.
    """
    if pool.is_identity():
        return x
    stride = 2**halvings
    sizes = sizes.tolist() if isinstance(sizes, Tensor) else sizes
    crops = [x[i : i + 1, :, : ceil_div(h, stride), : ceil_div(w, stride)] for i, (h, w) in enumerate(sizes)]
    return torch.cat([pool(crop) for crop in crops])
