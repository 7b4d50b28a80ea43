"""timm's GC ViT for images of any size, by the rule of its official detector, around the network as timm builds it.

The size at construction sets the windows and how often each stage halves its global query.

Source: NVlabs/GCVit @95e15e9 ``detection/models/gc_vit.py``, ``GCViTBlock.forward`` and ``GlobalQueryGen.forward``.
"""

from collections.abc import Callable
from functools import partial

from timm.models.gcvit import GlobalContextVit
from torch import Tensor, nn
from torch.nn import functional as F


def free_size(net: GlobalContextVit) -> None:
    """Changes a network in place; at the size that it was built for, its function stays exactly what it was."""
    for stage in net.stages:
        window = stage.blocks[0].window_size
        stage.global_block.register_forward_hook(partial(_fit_query, window))
        for block in stage.blocks:
            block._window_attn = partial(_attend_padded, block._window_attn, window)


def _fit_query(window: tuple[int, int], module: nn.Module, inputs: tuple, query: Tensor) -> Tensor:
    """(B, C, h, w) to the one window that every window of the map is asked with."""
    return query if query.shape[-2:] == window else F.interpolate(query, window, mode="bicubic")


def _attend_padded(attend: Callable, window: tuple[int, int], x: Tensor, query: Tensor | None = None) -> Tensor:
    """(B, H, W, C), extended with zeros to whole windows; as in the official detector, nothing masks them."""
    height, width = x.shape[1:3]
    if height % window[0] == 0 and width % window[1] == 0:
        return attend(x, query)
    x = F.pad(x, (0, 0, 0, -width % window[1], 0, -height % window[0]))
    return attend(x, query)[:, :height, :width]
