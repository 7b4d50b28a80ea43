"""Every network by name: its size and style, and what weights of it are published."""

from dataclasses import replace
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from .coatnet_catalog import COATNET_CONFIGS, COATNET_WEIGHTS
from .styles import RMLP_ATTENTION, RW_ATTENTION, RW_CONV, MaxViTConfig
from .weights.torchvision_layout import torchvision_config

_RW: dict[str, Any] = dict(conv=RW_CONV, attention=RMLP_ATTENTION, head_hidden=False)

CONFIGS: dict[str, MaxViTConfig] = {
    # Letters are the paper's networks: table 1 and table 11 (XL), the stem as google-research/maxvit has it.
    "maxvit_t": MaxViTConfig(stem_dim=64, dims=(64, 128, 256, 512), depths=(2, 2, 5, 2)),
    "maxvit_s": MaxViTConfig(stem_dim=64, dims=(96, 192, 384, 768), depths=(2, 2, 5, 2)),
    "maxvit_b": MaxViTConfig(stem_dim=64, dims=(96, 192, 384, 768), depths=(2, 6, 14, 2)),
    "maxvit_l": MaxViTConfig(stem_dim=128, dims=(128, 256, 512, 1024), depths=(2, 6, 14, 2)),
    "maxvit_xl": MaxViTConfig(stem_dim=192, dims=(192, 384, 768, 1536), depths=(2, 6, 14, 2)),
    # Words are timm's own, trained in PyTorch (timm `maxxvit.py`, `maxvit_rmlp_*_rw`).
    "maxvit_pico": MaxViTConfig(stem_dim=32, stem_mid=24, dims=(32, 64, 128, 256), depths=(2, 2, 5, 2), **_RW),
    "maxvit_nano": MaxViTConfig(stem_dim=64, stem_mid=32, dims=(64, 128, 256, 512), depths=(1, 2, 3, 1), **_RW),
    "maxvit_tiny": MaxViTConfig(stem_dim=64, stem_mid=32, dims=(64, 128, 256, 512), depths=(2, 2, 5, 2), **_RW),
    "maxvit_small": MaxViTConfig(
        stem_dim=64,
        stem_mid=32,
        dims=(96, 192, 384, 768),
        depths=(2, 2, 5, 2),
        **_RW | dict(attention=replace(RMLP_ATTENTION, layer_scale=1e-6)),
    ),
    "maxvit_base": MaxViTConfig(
        stem_dim=64,
        stem_mid=32,
        dims=(96, 192, 384, 768),
        depths=(2, 6, 14, 2),
        **_RW | dict(head_hidden=True),
    ),
    # Ours, not the paper's: the same network small enough to train on two CPU cores (demo, tests).
    "maxvit_mini": MaxViTConfig(stem_dim=32, dims=(32, 64, 128, 256), depths=(1, 1, 2, 1)),
    **COATNET_CONFIGS,
}

# Weights whose network differs from that of their name in more than size.
TAG_CONFIGS = {
    "maxvit_t.tv_in1k": torchvision_config(CONFIGS["maxvit_t"]),
    "maxvit_nano.rw_256": replace(CONFIGS["maxvit_nano"], attention=RW_ATTENTION),
    "maxvit_tiny.rw_224": replace(CONFIGS["maxvit_tiny"], attention=RW_ATTENTION),
}

# Paper's size names as timm spells them in its checkpoints.
_TIMM_SIZES = dict(t="tiny", s="small", b="base", l="large", xl="xlarge")
_IN1K_SIZES = ("t", "s", "b", "l")
_IN21K_SIZES = ("b", "l", "xl")
_SQUASH = dict(crop_pct=1.0, crop_mode="squash")
_IMAGENET_COLOURS = dict(mean=IMAGENET_DEFAULT_MEAN, std=IMAGENET_DEFAULT_STD)
_IN12K = dict(num_classes=11821)

# timm's own weights: our name and tag, timm's, image size, and what is not timm's default.
_RW_WEIGHTS: tuple[tuple[str, str, int, dict[str, Any]], ...] = (
    ("maxvit_pico.rmlp_rw_256", "maxvit_rmlp_pico_rw_256.sw_in1k", 256, {}),
    ("maxvit_nano.rmlp_rw_256", "maxvit_rmlp_nano_rw_256.sw_in1k", 256, {}),
    ("maxvit_nano.rw_256", "maxvit_nano_rw_256.sw_in1k", 256, {}),
    ("maxvit_tiny.rmlp_rw_256", "maxvit_rmlp_tiny_rw_256.sw_in1k", 256, {}),
    ("maxvit_tiny.rw_224", "maxvit_tiny_rw_224.sw_in1k", 224, {}),
    ("maxvit_small.rmlp_rw_224", "maxvit_rmlp_small_rw_224.sw_in1k", 224, dict(crop_pct=0.9)),
    ("maxvit_base.rmlp_rw_224_in12k_ft_in1k", "maxvit_rmlp_base_rw_224.sw_in12k_ft_in1k", 224, {}),
    ("maxvit_base.rmlp_rw_384_in12k_ft_in1k", "maxvit_rmlp_base_rw_384.sw_in12k_ft_in1k", 384, _SQUASH),
    ("maxvit_base.rmlp_rw_224_in12k", "maxvit_rmlp_base_rw_224.sw_in12k", 224, _IN12K),
)


def _cfg(img_size: int = 224, **kwargs: Any) -> dict[str, Any]:
    side = -(-img_size // 32)
    return (
        dict(
            num_classes=1000,
            input_size=(3, img_size, img_size),
            pool_size=(side, side),
            crop_pct=0.95,
            interpolation="bicubic",
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
            first_conv="stem.conv1",
            classifier="head.fc",
            fixed_input_size=False,
            license="apache-2.0",
        )
        | kwargs
    )


def _official_cfgs() -> dict[str, dict[str, Any]]:
    """The paper's weights, converted by timm.

    The 224-pixel ImageNet-1k weights use ImageNet's mean and std, all others 0.5; the 384 and 512 ones were trained on
    whole images squashed to a square (google-research/maxvit, paper table 12).
    """
    cfgs = {}
    for size in _IN1K_SIZES:
        hub = f"timm/maxvit_{_TIMM_SIZES[size]}_tf"
        cfgs[f"maxvit_{size}.in1k"] = _cfg(hf_hub_id=f"{hub}_224.in1k", **_IMAGENET_COLOURS)
        for side in (384, 512):
            cfgs[f"maxvit_{size}.in1k_{side}"] = _cfg(side, hf_hub_id=f"{hub}_{side}.in1k", **_SQUASH)
    for size in _IN21K_SIZES:
        hub = f"timm/maxvit_{_TIMM_SIZES[size]}_tf"
        cfgs[f"maxvit_{size}.in21k"] = _cfg(hf_hub_id=f"{hub}_224.in21k", num_classes=21843)
        for side in (384, 512):
            cfgs[f"maxvit_{size}.in21k_ft_in1k_{side}"] = _cfg(side, hf_hub_id=f"{hub}_{side}.in21k_ft_in1k", **_SQUASH)
    return cfgs


def published_cfgs() -> dict[str, dict[str, Any]]:
    """Every published checkpoint by our name and tag: timm's on the hub (timm `maxxvit.py`), and torchvision's.

    torchvision evaluates at 224 pixels of an image whose short side is 224 (`MaxVit_T_Weights`).
    """
    cfgs = _official_cfgs()
    cfgs["maxvit_t.tv_in1k"] = _cfg(
        url="https://download.pytorch.org/models/maxvit_t-bc5ab103.pth",
        crop_pct=1.0,
        license="bsd-3-clause",
        **_IMAGENET_COLOURS,
    )
    for name, timm_name, img_size, kwargs in _RW_WEIGHTS + COATNET_WEIGHTS:
        cfgs[name] = _cfg(img_size, hf_hub_id=f"timm/{timm_name}", **kwargs)
    cfgs["maxvit_mini.untrained"] = _cfg(**_IMAGENET_COLOURS)
    with_weights = {name.partition(".")[0] for name in cfgs}
    cfgs |= {f"{name}.untrained": _cfg() for name in COATNET_CONFIGS if name not in with_weights}
    return {name: cfg | dict(tag=name.partition(".")[2]) for name, cfg in cfgs.items()}
