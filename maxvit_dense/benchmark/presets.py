"""What `tools/benchmark.py --preset NAME` measures. A row more is a line more."""

from dataclasses import replace

from .specs import Goal, Group, Size, Workload

_TIMM = "timm:maxvit_tiny_tf_224"
_TORCHVISION = "torchvision:maxvit_t"
_KIND = "maxvit_t.tv_in1k"  # ours of torchvision's kind, the same function as torchvision's

_IMAGES = Workload(batch=8, size=(224, 224))
_DENSE = Workload(batch=1, size=(800, 1333), features=True)
_RATIO = Workload(batch=1, size=(832, 1344), features=True)

# timm takes sizes that its window divides: this is its nearest to 800x1333. There each is compared with itself, and
# both with each other at the square sizes of `_SCALING`.
_TIMM_DENSE = f"{_TIMM}:window=7,size=896x1344"
_OURS_RATIO = "maxvit_t:img_size=832x1344"  # bias tables of the window's size, as timm makes them there

_CPU = (
    Group(
        "eval, 8 x 224x224, fp32, eager",
        ("maxvit_t:fold", f"{_KIND}:fold", _TIMM, _TORCHVISION),
        _IMAGES,
        repetitions=5,
        goals=(Goal("maxvit_t:fold", _TIMM, 1.7), Goal(f"{_KIND}:fold", _TORCHVISION, 1.35)),
    ),
    Group(
        "eval, 8 x 224x224, fp32, compiled",
        ("maxvit_t:fold,compile", f"{_KIND}:fold,compile", f"{_TIMM}:compile", f"{_TORCHVISION}:compile"),
        _IMAGES,
        repetitions=5,
        goals=(
            Goal("maxvit_t:fold,compile", f"{_TIMM}:compile", 1.5),
            Goal(f"{_KIND}:fold,compile", f"{_TORCHVISION}:compile", 1.15),
            Goal("maxvit_t:fold,compile", None, 0.72, "peak share"),
        ),
    ),
    Group(
        "eval, 8 x 224x224, bf16, eager",
        ("maxvit_t:fold", f"{_KIND}:fold", _TIMM, _TORCHVISION),
        replace(_IMAGES, dtype="bf16"),
        repetitions=5,
        goals=(Goal("maxvit_t:fold", _TIMM, 1.7), Goal(f"{_KIND}:fold", _TORCHVISION, 1.3)),
    ),
    Group(
        "training step, 8 x 224x224, fp32, eager",
        ("maxvit_t", _KIND, _TIMM, _TORCHVISION),
        replace(_IMAGES, mode="train"),
        repetitions=3,
        goals=(Goal("maxvit_t", _TIMM, 1.5), Goal(_KIND, _TORCHVISION, 1.2)),
    ),
    Group(
        "feature maps, 800x1333, window 7, eval, fp32, eager",
        ("maxvit_t:fold", _TIMM_DENSE),
        _DENSE,
        repetitions=3,
        goals=(Goal("maxvit_t:fold", _TIMM_DENSE, 1.7),),
    ),
    Group(
        "feature maps, 800x1333, window 7, forward + backward, fp32, eager",
        ("maxvit_t", "maxvit_t:recompute_cheap", _TIMM_DENSE),
        replace(_DENSE, mode="train"),
        repetitions=1,
        goals=(
            Goal("maxvit_t", _TIMM_DENSE, 2.0),
            Goal("maxvit_t", _TIMM_DENSE, 0.6, "memory"),
            Goal("maxvit_t:recompute_cheap", _TIMM_DENSE, 2.0),
            Goal("maxvit_t:recompute_cheap", _TIMM_DENSE, 0.6, "memory"),
        ),
    ),
    Group(
        "feature maps, 832x1344, window 26x42, eval, fp32, eager",
        (f"{_OURS_RATIO},fold", _TIMM),
        _RATIO,
        repetitions=2,
        goals=(Goal(f"{_OURS_RATIO},fold", _TIMM, 1.5),),
    ),
    Group(
        "feature maps, 832x1344, window 26x42, forward + backward, fp32, eager",
        (_OURS_RATIO, _TIMM),
        replace(_RATIO, mode="train"),
        repetitions=1,
        goals=(Goal(_OURS_RATIO, _TIMM, 1.5),),
    ),
)

SQUARES: tuple[Size, ...] = tuple((side, side) for side in (224, 448, 896, 1344, 1792))


def scaling(
    models: tuple[str, ...], workload: Workload, sizes: tuple[Size, ...], repetitions: int
) -> tuple[Group, ...]:
    """One group a size; the exponents of time and memory are fitted over all of them."""
    title = f"{workload.mode}, {workload.batch} image{'s' * (workload.batch > 1)}, {workload.dtype}"
    return tuple(
        Group(f"{title}, {height}x{width}", models, replace(workload, size=(height, width)), repetitions)
        for height, width in sizes
    )


_ONE_IMAGE = Workload(batch=1, features=True)
_SCALING = scaling(("maxvit_t:fold",), _ONE_IMAGE, SQUARES, 2)
_PEERS = ("maxvit_t:fold", f"{_TIMM}:window=7", "timm:swin_tiny_patch4_window7_224:window=7", "timm:convnext_tiny")
_DYNAMIC = (
    Group(
        "eval, 1 image of random size up to 448x448, compiled",
        ("maxvit_t:fold,compile",),
        replace(_ONE_IMAGE, size=(448, 448)),
        random_sizes=200,
    ),
)


def _gpu_group(title: str, workload: Workload, fold: str) -> Group:
    ours = f"maxvit_t:{fold}compile,channels_last"
    theirs = f"{_TIMM}:compile,channels_last" + (",window=7,size=896x1344" if workload.features else "")
    peers = () if workload.features else ("timm:convnext_tiny:compile,channels_last", f"{_TORCHVISION}:compile")
    return Group(title, (ours, theirs, *peers), workload, repetitions=20, goals=(Goal(ours, theirs, 2.0),))


_GPU_IMAGES = Workload(batch=256, size=(224, 224), dtype="bf16", device="cuda")
_GPU_DENSE = Workload(batch=2, size=(800, 1333), dtype="bf16", features=True, device="cuda")
_GPU = (
    _gpu_group("eval, 256 x 224x224, bf16, compiled", _GPU_IMAGES, "fold,"),
    _gpu_group("training step, 256 x 224x224, bf16, compiled", replace(_GPU_IMAGES, mode="train"), ""),
    _gpu_group("feature maps, 2 x 800x1333, eval, bf16, compiled", _GPU_DENSE, "fold,"),
    _gpu_group("feature maps, 2 x 800x1333, forward + backward, bf16, compiled", replace(_GPU_DENSE, mode="train"), ""),
)

_SMALL = Workload(batch=2, size=(64, 64))
_SMOKE = (
    *scaling(("maxvit_mini:fold", "maxvit_mini"), _SMALL, ((32, 32), (48, 48), (64, 64)), 1),
    Group("training step, 2 x 64x64", ("maxvit_mini",), replace(_SMALL, mode="train"), 1),
)

PRESETS: dict[str, tuple[Group, ...]] = {
    "cpu": _CPU + _SCALING + _DYNAMIC,
    "table": _CPU,
    "scaling": _SCALING,
    "peers": scaling(_PEERS, _ONE_IMAGE, SQUARES, 3),
    "dynamic": _DYNAMIC,
    "gpu": _GPU,
    "smoke": _SMOKE,
}
