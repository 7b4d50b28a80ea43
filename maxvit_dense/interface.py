"""What timm asks of a network beside its forward pass: its window, classifier, layer groups and maps to keep."""

from collections.abc import Sequence
from functools import partial

import torch
from timm.layers import NormMlpClassifierHead
from timm.models._features import feature_take_indices
from torch import nn

from .arguments import PARTITION_RATIO, parse_img_size, parse_window_size
from .recompute import check_recompute
from .sizes import ceil_div
from .styles import MaxViTConfig


class TimmInterface(nn.Module):
    """Methods of a network of ``stem``, ``stages``, ``norm`` and ``head``, with timm's names."""

    __jit_unused_properties__ = ["window_size"]

    @staticmethod
    def _window_for(img_size: tuple[int, int]) -> tuple[int, int]:
        return ceil_div(img_size[0], PARTITION_RATIO), ceil_div(img_size[1], PARTITION_RATIO)

    @torch.jit.ignore
    def set_input_size(
        self,
        img_size: int | tuple[int, int] | None = None,
        window_size: int | tuple[int, int] | str | None = None,
    ) -> None:
        """Changes the window in use.

        Weights stay as they are: bias tables keep their trained size and are resized in the forward pass.

        Args:
            img_size: image size in pixels, kept as a record; without ``window_size`` the window becomes
                ceil(img_size / 32), timm's rule. None keeps the size in use.
            window_size: positive int, (height, width) or "ratio".
        """
        if img_size is not None:
            self.img_size = parse_img_size(img_size)
        if window_size is None:
            window_size = self._window_for(self.img_size)
        self.ratio_window, self.fixed_window = parse_window_size(window_size)

    @property
    def window_size(self) -> str | tuple[int, int]:
        """(Ph, Pw) in tokens, or "ratio"."""
        return "ratio" if self.ratio_window else self.fixed_window

    @torch.jit.ignore
    def no_weight_decay(self) -> set:
        """Names of the biases by position, tables or MLPs; one-dimensional parameters are timm's to exclude."""
        return {name for name, _ in self.named_parameters() if ".rel_pos." in name}

    @torch.jit.ignore
    def group_matcher(self, coarse: bool = False) -> dict:
        """Layer groups for layer-wise learning rates: the stem, each block (each stage if coarse), the head."""
        blocks = r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.blocks\.(\d+)"
        return dict(stem=r"^stem", blocks=[(blocks, None)])

    @torch.jit.ignore
    def set_grad_checkpointing(self, enable: bool | str = True, stages: Sequence[int] | None = None) -> None:
        """Recomputes activations in the backward pass instead of keeping them.

        Args:
            enable: True keeps each block's input alone, "cheap" what costs arithmetic, False everything
                (``recompute.run_block``).
            stages: which of the four, 0 to 3; all if None. Others stay as they are. The first holds most of the memory.

        Raises:
            ValueError: no such mode or stage.
        """
        check_recompute(enable)
        chosen = range(len(self.stages)) if stages is None else stages
        if any(i not in range(len(self.stages)) for i in chosen):
            raise ValueError(f"stages={list(chosen)}: this network has the stages 0 to {len(self.stages) - 1}")
        for i in chosen:
            self.stages[i].grad_checkpointing = enable

    @torch.jit.ignore
    def get_classifier(self) -> nn.Module:
        return self.head.fc

    def reset_classifier(self, num_classes: int, global_pool: str | None = None, reset_other: bool = False) -> None:
        """Replaces the classifier; ``reset_other`` also removes the head's norm and hidden layer."""
        self.num_classes = num_classes
        if global_pool is not None:
            self.global_pool = global_pool
        if reset_other:
            self.head.norm, self.head.pre_logits = nn.Identity(), nn.Identity()
            self.head.hidden_size = None
            self.head.in_features = self.head.num_features = self.num_features
        self.head.reset(num_classes, global_pool)
        self.head.to(next(self.parameters()))  # older releases of timm make the classifier on the CPU, in float32
        self.head_hidden_size = self.head.num_features

    @torch.jit.ignore
    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Removes what the chosen maps do not need; returns their indices, counted from the stem."""
        take_indices, max_index = feature_take_indices(len(self.stages) + 1, indices)
        ends_early = max_index < len(self.stages)
        self.stages = self.stages[:max_index]
        if prune_norm or ends_early:
            self.norm = nn.Identity()
        if ends_early:
            self.num_features = self.feature_info[max_index]["num_chs"]
        if prune_head or ends_early:  # a head sized for the last stage fits no other map
            self.reset_classifier(0, "", reset_other=True)
        return take_indices

    def _make_head(self, cfg: MaxViTConfig, **dd) -> None:
        """Sets the norm of the last map and the classifier behind it."""
        self.norm = nn.Identity() if cfg.head_hidden else cfg.attention.map_norm(self.num_features, **dd)
        self.head = NormMlpClassifierHead(
            self.num_features,
            self.num_classes,
            hidden_size=self.num_features if cfg.head_hidden else None,
            pool_type=self.global_pool,
            drop_rate=self.drop_rate,
            norm_layer=partial(cfg.attention.map_norm),  # timm takes no bound method
            **dd,
        )
        if not cfg.head_hidden:
            self.head.norm = nn.Identity()
        if self.num_classes > 0 and not cfg.head_bias:
            self.head.fc = nn.Linear(self.head.num_features, self.num_classes, bias=False, **dd)
