"""Every CoAtNet by timm's name without the image size: size and style, and what weights are published."""

from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .styles import OFFICIAL_CONV, RW_ATTENTION, RW_CONV, ConvStyle, MaxViTConfig

_DIMS = dict(
    nano=((32, 64), (64, 128, 256, 512)),
    small=((32, 64), (96, 192, 384, 768)),
    base=((64, 128), (128, 256, 512, 1024)),
    large=((96, 192), (192, 384, 768, 1536)),
)


def _rw(dims: str, depths: tuple[int, int, int, int], conv: ConvStyle, **attention: Any) -> MaxViTConfig:
    """One of timm's own: widths of the stem's convolutions and the stages by a name, styles."""
    (mid, stem), widths = _DIMS[dims]
    style = replace(RW_ATTENTION, **attention)
    return MaxViTConfig(stem, widths, depths, stem_mid=mid, conv=conv, attention=style, head_hidden=False)


def _paper(stem: int, dims: tuple[int, int, int, int], depths: tuple[int, int, int, int]) -> MaxViTConfig:
    return MaxViTConfig(stem, dims, depths, conv=_PAPER_CONV, attention=_PAPER_ATTENTION)


# The paper's sizes as timm builds them; no weights of them are published.
_PAPER_CONV = replace(
    OFFICIAL_CONV, act="gelu", norm_eps=1e-5, norm_momentum=0.1, same_padding=False, stem_biases=(False, False)
)
_PAPER_ATTENTION = replace(RW_ATTENTION, attends_wide=True)

# timm's `_rw_max_cfg` and `_rw_coat_cfg` (timm `maxxvit.py`), and what single trainings changed of the second.
_MAX = replace(RW_CONV, output_bias=True, squeeze=0.25)
_COAT = replace(RW_CONV, squeeze=0.25, squeeze_act="relu", pre_norm_act=True)
_EARLY = replace(_COAT, squeezes_early=True)
_SILU = replace(_COAT, squeeze_act="silu")
_MLP: dict[str, Any] = dict(rel_pos="mlp")
_NARROW_MLP: dict[str, Any] = dict(rel_pos="mlp", rel_pos_dim=384)
_NO_BIAS: dict[str, Any] = dict(shortcut_bias=False)
_SCALED: dict[str, Any] = dict(layer_scale=1e-6)

COATNET_CONFIGS: dict[str, MaxViTConfig] = {
    "coatnet_pico_rw": _rw("nano", (2, 3, 5, 2), _MAX),
    "coatnet_nano_rw": _rw("nano", (3, 4, 6, 3), replace(_MAX, pools_first=True)),
    "coatnet_0_rw": _rw("small", (2, 3, 7, 2), replace(_EARLY, pools_first=True), **_NO_BIAS),
    "coatnet_1_rw": _rw("small", (2, 6, 14, 2), _EARLY, **_NO_BIAS),
    "coatnet_2_rw": _rw("base", (2, 6, 14, 2), _SILU),
    "coatnet_3_rw": _rw("large", (2, 6, 14, 2), _SILU, **_SCALED),
    "coatnet_bn_0_rw": _rw("small", (2, 3, 7, 2), _EARLY, batch_norm=True, **_NO_BIAS),
    "coatnet_rmlp_nano_rw": _rw("nano", (3, 4, 6, 3), _MAX, **_NARROW_MLP),
    "coatnet_rmlp_0_rw": _rw("small", (2, 3, 7, 2), _COAT, **_MLP),
    "coatnet_rmlp_1_rw": _rw(
        "small", (2, 6, 14, 2), replace(_EARLY, pools_first=True, pool="max3"), **_NARROW_MLP, **_NO_BIAS
    ),
    "coatnet_rmlp_1_rw2": _rw("small", (2, 6, 14, 2), _COAT, **_MLP),
    "coatnet_rmlp_2_rw": _rw("base", (2, 6, 14, 2), _SILU, **_MLP, **_SCALED),
    "coatnet_rmlp_3_rw": _rw("large", (2, 6, 14, 2), _SILU, **_MLP, **_SCALED),
    "coatnet_0": _paper(64, (96, 192, 384, 768), (2, 3, 5, 2)),
    "coatnet_1": _paper(64, (96, 192, 384, 768), (2, 6, 14, 2)),
    "coatnet_2": _paper(128, (128, 256, 512, 1024), (2, 6, 14, 2)),
    "coatnet_3": _paper(192, (192, 384, 768, 1536), (2, 6, 14, 2)),
    "coatnet_4": _paper(192, (192, 384, 768, 1536), (2, 12, 28, 2)),
    "coatnet_5": _paper(192, (256, 512, 1280, 2048), (2, 12, 28, 2)),
}

_IN12K = dict(num_classes=11821)
_CROP_90 = dict(crop_pct=0.9)
_COLOURS = dict(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
_SQUASH = dict(crop_pct=1.0, crop_mode="squash")

# Our name and tag, timm's, image size, and what is not timm's default; the first of a name is its default.
COATNET_WEIGHTS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("coatnet_nano_rw.sw_in1k", "coatnet_nano_rw_224.sw_in1k", 224, _CROP_90),
    ("coatnet_0_rw.sw_in1k", "coatnet_0_rw_224.sw_in1k", 224, {}),
    ("coatnet_1_rw.sw_in1k", "coatnet_1_rw_224.sw_in1k", 224, {}),
    ("coatnet_2_rw.sw_in12k_ft_in1k", "coatnet_2_rw_224.sw_in12k_ft_in1k", 224, {}),
    ("coatnet_2_rw.sw_in12k", "coatnet_2_rw_224.sw_in12k", 224, _IN12K),
    ("coatnet_3_rw.sw_in12k", "coatnet_3_rw_224.sw_in12k", 224, _IN12K),
    ("coatnet_bn_0_rw.sw_in1k", "coatnet_bn_0_rw_224.sw_in1k", 224, _COLOURS),
    ("coatnet_rmlp_nano_rw.sw_in1k", "coatnet_rmlp_nano_rw_224.sw_in1k", 224, _CROP_90),
    ("coatnet_rmlp_1_rw.sw_in1k", "coatnet_rmlp_1_rw_224.sw_in1k", 224, {}),
    ("coatnet_rmlp_1_rw2.sw_in12k_ft_in1k", "coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k", 224, {}),
    ("coatnet_rmlp_1_rw2.sw_in12k", "coatnet_rmlp_1_rw2_224.sw_in12k", 224, _IN12K),
    ("coatnet_rmlp_2_rw.sw_in12k_ft_in1k", "coatnet_rmlp_2_rw_224.sw_in12k_ft_in1k", 224, {}),
    ("coatnet_rmlp_2_rw.sw_in12k_ft_in1k_384", "coatnet_rmlp_2_rw_384.sw_in12k_ft_in1k", 384, _SQUASH),
    ("coatnet_rmlp_2_rw.sw_in1k", "coatnet_rmlp_2_rw_224.sw_in1k", 224, {}),
    ("coatnet_rmlp_2_rw.sw_in12k", "coatnet_rmlp_2_rw_224.sw_in12k", 224, _IN12K),
)
