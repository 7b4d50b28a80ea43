"""The MaxViT network: stem and four stages of MBConv, block attention, grid attention.

Paper: "MaxViT: Multi-Axis Vision Transformer", arXiv 2204.01697. Official code: google-research/maxvit. Parameter
names and shapes are those of timm's ``maxvit_*_tf_*``; any image size is accepted.

The forward pass goes on in ``mbconv``, ``attention``, ``partition`` and ``ops/plain``. ``places`` and ``ragged`` are of
batches of images of different sizes alone; ``recompute`` and ``layout`` change what training costs, not the result.
"""

from collections.abc import Callable
from functools import partial
from itertools import islice

import torch
import torch.fx
from timm.models._features import feature_take_indices
from torch import Tensor, nn

from . import ragged
from .arguments import PARTITION_RATIO, check_images, check_network, check_sizes
from .attention import PartitionAttention
from .interface import TimmInterface
from .layout import with_channels_last_gradient
from .mbconv import MBConv, Stem
from .partition import Partition
from .partition_cache import find_partitions
from .ragged import Places
from .recompute import run_block
from .sizes import ceil_div
from .styles import MaxViTConfig

# A traced graph calls these whole: what they do depends on sizes, which symbolic tracing does not know.
torch.fx.wrap("check_images")
torch.fx.wrap("find_partitions")


class MaxViTBlock(nn.Module):
    """MBConv, block attention, grid attention: (B, C, H, W) in and out, both in channels-last memory."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        stride: int,
        table_window: tuple[int, int],
        cfg: MaxViTConfig,
        drop_path: float = 0.0,
        **dd,
    ):
        super().__init__()
        kwargs = dict(drop_path=drop_path, **dd)
        self.conv = MBConv(in_chs, out_chs, stride, cfg.conv, **kwargs)
        self.attn_block = PartitionAttention(out_chs, table_window, cfg.attention, **kwargs)
        self.attn_grid = PartitionAttention(out_chs, table_window, cfg.attention, **kwargs)

    def init_weights(self) -> None:
        self.conv.init_weights()
        self.attn_block.init_weights()
        self.attn_grid.init_weights()

    def forward(self, x: Tensor, block: Partition, grid: Partition, places: Places | None = None) -> Tensor:
        x = self.conv(x, places)
        x = x.permute(0, 2, 3, 1)  # a view: channels-last memory read as (B, H, W, C)
        x = self.attn_block(x, block, places)
        x = self.attn_grid(x, grid, places)
        return x.permute(0, 3, 1, 2)


def stacked(make_block: Callable[..., nn.Module], in_chs: int, out_chs: int, drop_paths: list[float]) -> nn.ModuleList:
    """The blocks of a stage, the first of stride 2, made by ``make_block(in_chs, out_chs, stride, drop_path=...)``."""
    first = make_block(in_chs, out_chs, 2, drop_path=drop_paths[0])
    return nn.ModuleList([first, *(make_block(out_chs, out_chs, 1, drop_path=rate) for rate in drop_paths[1:])])


class MaxViTStage(nn.Module):
    """Blocks at one resolution, the first of stride 2: (B, in, H, W) -> (B, out, ceil(H/2), ceil(W/2))."""

    def __init__(
        self,
        in_chs: int,
        out_chs: int,
        drop_paths: list[float],
        table_window: tuple[int, int],
        cfg: MaxViTConfig,
        **dd,
    ):
        super().__init__()
        self.grad_checkpointing: bool | str = False
        make_block = partial(MaxViTBlock, table_window=table_window, cfg=cfg, **dd)
        self.blocks = stacked(make_block, in_chs, out_chs, drop_paths)

    def forward(self, x: Tensor, window_size: tuple[int, int], places: Places | None = None) -> Tensor:
        if torch.jit.is_scripting() or places is None:
            height, width = ceil_div(x.shape[2], 2), ceil_div(x.shape[3], 2)
            block_partition, grid_partition = find_partitions(x, height, width, window_size, x.shape[0])
        else:
            block_partition, grid_partition = ragged.find_joined_partitions(x, places)
        for block in self.blocks:
            if torch.jit.is_scripting():
                x = block(x, block_partition, grid_partition)
            else:
                x = run_block(block, self.grad_checkpointing, x, block_partition, grid_partition, places)
        return with_channels_last_gradient(x)


class MaxViT(TimmInterface):
    """MaxViT classifier and feature extractor for images of any size, with timm's model interface (``interface.py``).

    ``forward`` maps (B, in_chans, H, W) to (B, num_classes); ``forward_intermediates`` gives up to five maps, the stem
    at stride 2 and stages 1-4 at strides 4, 8, 16 and 32, each ceil(H / stride) x ceil(W / stride).

    Args:
        cfg: widths and depths.
        img_size: image size in pixels that sets the size of the bias tables, 2 * ceil(img_size / 32) - 1 a side, as in
            timm. It limits nothing: every image size is accepted, and tables are resized when the window differs.
        window_size: positive int, (height, width), or "ratio" for ceil(H / 32) x ceil(W / 32) of each image. None
            takes ceil(img_size / 32), the window that the tables were made for.
        in_chans: image channels.
        num_classes: outputs of the classifier; 0 leaves it out.
        global_pool: timm's pooling name for the classifier, "" for none.
        drop_rate: dropout before the classifier.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.

    Raises:
        ValueError: a window size or image size that is not positive; as ``arguments.check_network``.
    """

    def __init__(
        self,
        cfg: MaxViTConfig,
        img_size: int | tuple[int, int] = 224,
        window_size: int | tuple[int, int] | str | None = None,
        in_chans: int = 3,
        num_classes: int = 1000,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        device=None,
        dtype=None,
    ):
        super().__init__()
        check_network(num_classes, in_chans, drop_rate, drop_path_rate)
        # Only what was given: timm's layers take neither before 1.0.21.
        dd = {name: value for name, value in (("device", device), ("dtype", dtype)) if value is not None}
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.global_pool = global_pool
        self.drop_rate = drop_rate
        self.partition_ratio = PARTITION_RATIO  # an attribute too: TorchScript reads no globals
        self.num_features = self.embed_dim = cfg.dims[-1]
        self.set_input_size(img_size, window_size)

        self.stem = Stem(in_chans, cfg.stem_mid or cfg.stem_dim, cfg.stem_dim, cfg.conv, **dd)
        self.stages = nn.ModuleList()
        last = max(1, sum(cfg.depths) - 1)
        drop_paths = iter([drop_path_rate * i / last for i in range(sum(cfg.depths))])
        in_chs = cfg.stem_dim
        for i, (dim, depth) in enumerate(zip(cfg.dims, cfg.depths, strict=True)):
            self.stages.append(self._make_stage(i, in_chs, list(islice(drop_paths, depth)), cfg, **dd))
            in_chs = dim
        self.feature_info = [dict(num_chs=cfg.stem_dim, reduction=2, module="stem")] + [
            dict(num_chs=dim, reduction=4 * 2**i, module=f"stages.{i}") for i, dim in enumerate(cfg.dims)
        ]
        self._make_head(cfg, **dd)
        self.head_hidden_size = self.head.num_features
        self.init_weights()

    def _make_stage(self, index: int, in_chs: int, drop_paths: list[float], cfg: MaxViTConfig, **dd) -> nn.Module:
        return MaxViTStage(in_chs, cfg.dims[index], drop_paths, self._window_for(self.img_size), cfg, **dd)

    def init_weights(self) -> None:
        """Initialises the stem and all blocks; tables and head initialise themselves."""
        self.stem.init_weights()
        for stage in self.stages:
            for block in stage.blocks:
                block.init_weights()

    def _image_window(self, height: int, width: int) -> tuple[int, int]:
        if self.ratio_window:
            return ceil_div(height, self.partition_ratio), ceil_div(width, self.partition_ratio)
        return self.fixed_window

    def forward_maps(
        self, x: Tensor, indices: list[int], depth: int, sizes: list[tuple[int, int]] | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """The forward pass: stem and the first ``depth`` stages.

        Returns:
            The last map, normalised if it is the last stage's and the head leaves that to it, and the maps of
            ``indices``, 0 for the stem and 1-4 for the stages, as they are.
        """
        is_recorded = ragged.is_recorded(x)
        x = check_images(x, self.in_chans, sizes if is_recorded else None)
        if not is_recorded and sizes is not None:
            places = self._find_places(x, sizes)
            if places is not None:
                return self._forward_ragged(x, places, indices, depth)
        window_size = self._image_window(x.shape[2], x.shape[3])
        x = self.stem(x)
        maps = [x] if 0 in indices else []
        for i, stage in enumerate(self.stages):
            if i < depth:
                x = stage(x, window_size)
                if i + 1 in indices:
                    maps.append(x)
        return self.norm(x) if depth == len(self.stages) else x, maps

    @torch.jit.unused
    def _find_places(self, x: Tensor, sizes: list[tuple[int, int]]) -> Places | None:
        return ragged.find_places(check_sizes(sizes, x), (x.shape[2], x.shape[3]), self._image_window)

    @torch.jit.unused
    def _forward_ragged(
        self, x: Tensor, places: Places, indices: list[int], depth: int
    ) -> tuple[Tensor, list[Tensor]]:
        norm = self.norm if depth == len(self.stages) else nn.Identity()
        return ragged.forward_maps(self.stem, self.stages[:depth], norm, x, places, indices)

    @torch.jit.unused
    def _pool_images(self, x: Tensor, sizes: list[tuple[int, int]]) -> Tensor:
        return ragged.pool_images(self.head.global_pool, x, sizes, len(self.stages) + 1)

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
        sizes: list[tuple[int, int]] | None = None,
    ) -> list[Tensor] | tuple[Tensor, list[Tensor]]:
        """Feature maps at chosen depths, 0 for the stem and 1-4 for the stages.

        Args:
            x: (B, in_chans, H, W).
            indices: the last n if int, all if None, else those listed; negative ones count from the end.
            norm: normalise the last stage's map, where the network's head leaves that to it.
            stop_early: do not compute stages behind the last map asked for.
            output_fmt: "NCHW" only.
            intermediates_only: leave out the final map.
            sizes: see :meth:`forward`; a map is zero outside its image.

        Returns:
            List of (B, C, H / 2^k, W / 2^k), sizes rounded up; before it the final map, unless intermediates_only.
        """
        if output_fmt != "NCHW":
            raise ValueError("output_fmt=" + str(output_fmt) + ": MaxViT gives NCHW maps only")
        take_indices, max_index = feature_take_indices(len(self.stages) + 1, indices)
        depth = max_index if stop_early else len(self.stages)
        x, intermediates = self.forward_maps(x, take_indices, depth, sizes)
        if norm and max_index == len(self.stages):
            intermediates[-1] = x
        if intermediates_only:
            return intermediates
        return x, intermediates

    def forward_features(self, x: Tensor, sizes: list[tuple[int, int]] | None = None) -> Tensor:
        """(B, in_chans, H, W) -> (B, C, ceil(H/32), ceil(W/32)); for ``sizes`` see :meth:`forward`."""
        return self.forward_maps(x, [], len(self.stages), sizes)[0]

    def forward_head(
        self, x: Tensor, pre_logits: bool = False, sizes: list[tuple[int, int]] | None = None
    ) -> Tensor:
        """Final map to logits (B, num_classes), or to the hidden features before the classifier."""
        if not ragged.is_recorded(x) and sizes is not None:
            x = self._pool_images(x, sizes)
        return self.head(x, pre_logits=pre_logits) if pre_logits else self.head(x)

    def forward(self, x: Tensor, sizes: list[tuple[int, int]] | None = None) -> Tensor:
        """Logits (B, num_classes) of images (B, in_chans, H, W).

        Args:
            x: images; one smaller than (H, W) lies in its top left corner.
            sizes: (h, w) in pixels of each, as pairs or an integer tensor (B, 2); None: each fills its canvas. Results
                are those of each image alone, whatever lies beside it (``ragged.py``).
        """
        return self.forward_head(self.forward_features(x, sizes), sizes=sizes)
