"""The backbones MaxViT and CoAtNet of OpenMMLab: thin wrappers over the networks that timm knows."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from mmengine.registry import MODELS
from torch import Tensor

from ...arguments import parse_window_size
from ...variants import CONFIGS, find_published
from ..exact_batches import ImageSizes
from ..weights import load_backbone, read_weights
from .dense import DenseBackbone, check_arguments


@MODELS.register_module()
class MaxViT(DenseBackbone):
    """Maps at strides 4, 8, 16 and 32 of images of any size.

    Args:
        arch: size: t, s, b, l, xl of the paper; pico, nano, tiny, small, base of timm; mini (ours, for demos and
            tests). "t.tv_in1k" is torchvision's network, "nano.rw_256" and "tiny.rw_224" timm's with tables of biases,
            whose weights need their own layers; naming that tag in ``init_cfg`` is enough.
        out_indices: which stages to return, 0-3 for strides 4, 8, 16, 32. Stages behind the last one are not built.
        window_size: attention window in tokens: positive int, (height, width), or "ratio" for 1/32 of the image.
        drop_path_rate: stochastic depth of the last block, growing linearly from 0.
        frozen_stages: -1 for none, 0 for the stem, 1-4 for the stem and that many stages: no gradients, and in
            evaluation mode.
        norm_eval: keep all BatchNorm layers in evaluation mode while training.
        with_cp: recompute in the backward pass rather than keep: "cheap" for normalisations, activations and
            partitions, True for whole blocks, which costs about a third more time.
        in_channels: image channels.
        img_size: image size in pixels that the bias tables are made for, as in timm; by default that of the weights
            if ``init_cfg`` names published ones, else 224. It limits nothing.
        exact_batches: in runs of this package, padding of a batch is no part of its images (``exact_batches.py``).
        init_cfg: None, or dict(type="Pretrained", checkpoint=...) with a local file, a URL or a tag of published
            weights ("in1k", "maxvit_t.in1k_384"). ``missing_ok=True`` in it goes on with random weights, and a
            warning, if the hub cannot be reached.

    Raises:
        ValueError: an argument out of its range.
    """

    family = "maxvit_"

    def __init__(
        self,
        arch: str = "t",
        out_indices: Sequence[int] = (0, 1, 2, 3),
        window_size: int | tuple[int, int] | str | None = 7,
        drop_path_rate: float = 0.0,
        frozen_stages: int = -1,
        norm_eval: bool = False,
        with_cp: bool | str = False,
        in_channels: int = 3,
        img_size: int | tuple[int, int] | None = None,
        exact_batches: bool = True,
        init_cfg: dict[str, Any] | None = None,
    ):
        super().__init__(init_cfg)
        size, _, tag = arch.partition(".") if isinstance(arch, str) else ("", "", "")
        sizes = [name.removeprefix(self.family) for name in CONFIGS if name.startswith(self.family)]
        if size not in sizes:
            raise ValueError(f"arch={arch!r}: {type(self).__name__} comes in the sizes {', '.join(sizes)}")
        flags = dict(norm_eval=norm_eval, exact_batches=exact_batches)
        check_arguments(out_indices, frozen_stages, init_cfg, "in1k", **flags)
        if window_size is not None:
            parse_window_size(window_size)
        self.variant = self.family + size
        self.out_indices = tuple(int(i) for i in out_indices)  # numpy's integers too
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.exact_batches = exact_batches
        self.image_sizes: ImageSizes | None = None  # set where a run has them
        self.ready: tuple[Tensor, ...] | None = None  # maps of the next call, computed before

        published = find_published(self.variant, init_cfg["checkpoint"]) if init_cfg else None
        if img_size is None:
            img_size = published.input_size[-1] if published else 224
        tag = tag or (published.tag if published else "")
        self.net = timm.create_model(
            f"{self.variant}.{tag}" if tag else self.variant,
            img_size=img_size,
            window_size=window_size,
            in_chans=in_channels,
            num_classes=0,
            drop_path_rate=drop_path_rate,
        )
        self.taps = tuple(i + 1 for i in self.out_indices)  # the network counts the stem as 0
        self.net.prune_intermediate_layers(self.taps, prune_norm=True)
        self.net.set_grad_checkpointing(with_cp)
        self.freeze()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, in_channels, H, W) -> one (B, C, H / stride, W / stride) for each of ``out_indices``."""
        if self.ready is not None:
            maps, self.ready = self.ready, None
            return maps
        return super().forward(x, sizes=self.image_sizes.of(x) if self.image_sizes else None)

    def read_weights(self, logger: logging.Logger) -> dict[str, Tensor] | None:
        return read_weights(self.variant, self.init_cfg, logger)

    def load_weights(self, weights: Mapping[str, Tensor], logger: logging.Logger) -> None:
        load_backbone(self.net, weights, self.init_cfg["checkpoint"], logger)


@MODELS.register_module()
class CoAtNet(MaxViT):
    """Maps at strides 4, 8, 16 and 32 of images of any size, attention at strides 16 and 32 over the whole map.

    Args:
        arch: timm's name of the network without "coatnet_" and the image size: "0_rw", "rmlp_2_rw", "bn_0_rw", "0".
        kwargs: as of :class:`MaxViT`, without ``window_size``.

    Raises:
        ValueError: an argument out of its range.
    """

    family = "coatnet_"

    def __init__(self, arch: str = "0_rw", **kwargs: Any):
        super().__init__(arch, window_size=None, **kwargs)
