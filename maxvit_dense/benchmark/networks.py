"""Networks to measure, with equal weights where two implementations compute one function."""

import re
from dataclasses import replace

import timm
import torch
import torchvision
from timm.layers import DropPath
from timm.utils import reparameterize_model
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from ..errors import InputError
from ..sizes import ceil_div
from ..variants import CONFIGS, TAG_CONFIGS, default_cfgs
from ..weights.fit import checkpoint_filter_fn
from .specs import Model, Size, Workload

SEED = 0
FEATURE_MAPS = 4
_STRIDE = 32
# timm's names of the networks that ours has the weights of.
_COUNTERPARTS = dict(tiny="maxvit_t", small="maxvit_s", base="maxvit_b", large="maxvit_l", xlarge="maxvit_xl")
_TIMM_SIZES = {ours: theirs for theirs, ours in _COUNTERPARTS.items()}
_TIMM_TF = re.compile(r"maxvit_(tiny|small|base|large|xlarge)_tf_(\d+)")
_TORCHVISION = {"maxvit_t": "maxvit_t.tv_in1k"}
# Weights at the end of a residual branch, damped as training does: random deep networks are chaotic else.
_BRANCH_ENDS = ("conv3_1x1.weight", "attn.proj.weight", "mlp.fc2.weight")


def check_model(model: Model, workload: Workload) -> None:
    """Says what cannot be measured before anything runs.

    Raises:
        InputError: a name that does not exist, or what the network or the machine cannot do.
    """
    known = {"ours": _is_ours, "timm": timm.is_model, "torchvision": torchvision.models.list_models().__contains__}
    if not known[model.source](model.name):
        names = {"ours": ", ".join(CONFIGS), "timm": "timm.list_models()"}.get(
            model.source, "torchvision's list_models()"
        )
        raise InputError(
            f"{model}: there is no model {model.name!r}. Known are {names}; timm:NAME and torchvision:NAME"
        )
    if "fold" in model.flags and workload.mode == "train":
        raise InputError(f"{model}: BatchNorm is folded for inference only; leave out fold for training")
    if _recompute_mode(model) and (workload.mode != "train" or model.source == "torchvision"):
        raise InputError(f"{model}: recomputing is for training, and for networks of timm and ours; leave it out")
    if _recompute_mode(model) == "cheap" and model.source != "ours":
        raise InputError(f"{model}: recompute_cheap is an option of our networks; timm's have recompute")
    if workload.features and model.source == "torchvision":
        raise InputError(f"{model}: torchvision's networks give class scores only; leave out --features")
    if model.window and model.source != "ours" and not _takes_window(model):
        raise InputError(f"{model}: {model.name} has no window to choose; timm:swin_* and MaxViT have")
    if model.source != "ours" and model.img_size:
        raise InputError(f"{model}: img_size is an option of our networks; timm's are set to the size that they run at")
    if workload.device == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda: PyTorch sees no CUDA device here; use --device cpu")


def _recompute_mode(model: Model) -> bool | str:
    return "cheap" if "recompute_cheap" in model.flags else "recompute" in model.flags


def _takes_window(model: Model) -> bool:
    return model.source == "timm" and bool(_TIMM_TF.fullmatch(model.name) or model.name.startswith("swin_"))


def _is_ours(name: str) -> bool:
    base, _, tag = name.partition(".")
    return base in CONFIGS and (not tag or tag in default_cfgs[base].cfgs)


def window_of(model: Model, size: Size) -> Size:
    """Window (Ph, Pw) that a MaxViT of ours or timm's has at an image size."""
    ratio = (ceil_div(size[0], _STRIDE), ceil_div(size[1], _STRIDE))
    if model.window == "ratio" or (model.window is None and model.source == "timm"):
        return ratio
    return model.window or _table_window(model)


def _table_window(model: Model) -> Size:
    """Window that the bias tables of a network of ours are made for."""
    base, _, tag = model.name.partition(".")
    side = model.img_size or (default_cfgs[base].cfgs[tag].input_size[-2:] if tag else (224, 224))
    return ceil_div(side[0], _STRIDE), ceil_div(side[1], _STRIDE)


def reference_of(model: Model, size: Size) -> Model:
    """Whose fp32, eager, unfolded outputs a model is compared with.

    An independent implementation wherever one computes the same function at that size: timm's for networks of the
    official kind, torchvision's for those of its kind. Elsewhere the model itself, in fp32, eager and unfolded.
    """
    if model.source == "ours":
        if model.name in TAG_CONFIGS:
            square = size[0] == size[1] and size[0] % (_STRIDE * 7) == 0
            return Model("torchvision", "maxvit_t") if square and model.window in (None, (7, 7)) else model.plain()
        window = window_of(model, size)
        fits = all(side % (_STRIDE * tokens) == 0 for side, tokens in zip(size, window, strict=True))
        base = model.name.partition(".")[0]
        if fits and window == _table_window(model) and base in _TIMM_SIZES:
            return Model("timm", f"maxvit_{_TIMM_SIZES[base]}_tf_224", window=window)
    elif _TIMM_TF.fullmatch(model.name):
        return replace(model.plain(), window=window_of(model, size))
    return model.plain()


def counted_as(model: Model, size: Size) -> Model:
    """The model whose operations are counted: for timm's MaxViT ours, the same function.

    timm reads bias tables by matrix products with one-hot matrices, which are no part of the function.
    """
    match = _TIMM_TF.fullmatch(model.name) if model.source == "timm" else None
    if not match:
        return model.plain()
    window = window_of(model, size)
    return Model("ours", _COUNTERPARTS[match[1]], img_size=(_STRIDE * window[0], _STRIDE * window[1]))


class FeatureMaps(nn.Module):
    """The last four feature maps of a network of timm or ours."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> list[Tensor]:
        return self.network.forward_intermediates(images, indices=FEATURE_MAPS, intermediates_only=True)


def build(model: Model, workload: Workload) -> nn.Module:
    """The network on the CPU, random weights of a fixed seed, in the mode of the workload; folded if asked.

    Raises:
        ValueError: a size that the network does not take, from its own code.
    """
    network = {"ours": _ours, "timm": _timm, "torchvision": _torchvision}[model.source](model, workload.size)
    for module in network.modules():  # random branches dropped would make outputs differ
        if isinstance(module, DropPath):
            module.drop_prob = 0.0
        elif isinstance(module, (StochasticDepth, nn.Dropout)):
            module.p = 0.0
    network.train(workload.mode == "train")
    if _recompute_mode(model):
        network.set_grad_checkpointing(_recompute_mode(model))
    if "fold" in model.flags:
        network = reparameterize_model(network, inplace=True)
    return FeatureMaps(network) if workload.features else network


def _ours(model: Model, size: Size) -> nn.Module:
    torch.manual_seed(SEED)
    options = {} if model.window is None else dict(window_size=model.window)
    if model.img_size:
        options["img_size"] = model.img_size
    network = timm.create_model(model.name, **options)
    if model.name in TAG_CONFIGS:
        theirs = _torchvision(Model("torchvision", "maxvit_t"), (224, 224))
        network.load_state_dict(checkpoint_filter_fn(theirs.state_dict(), network), strict=True)
        return network
    return _fill_with_noise(network)


def _timm(model: Model, size: Size) -> nn.Module:
    torch.manual_seed(SEED)
    options = dict(num_classes=1000) if _TIMM_TF.fullmatch(model.name) else {}  # of XL 21,843 else
    network = timm.create_model(model.name, **options)
    if match := _TIMM_TF.fullmatch(model.name):
        window = window_of(model, size)
        network.set_input_size(size, window_size=window, grid_size=window)
        same = Model("ours", _COUNTERPARTS[match[1]], img_size=(_STRIDE * window[0], _STRIDE * window[1]))
        network.load_state_dict(_ours(same, size).state_dict(), strict=True)
        return network
    if hasattr(network, "set_input_size"):
        # Left to itself timm gives Swin windows of 1/8 of the map at another size.
        network.set_input_size(size, **(dict(window_size=model.window) if model.window else {}))
    return _fill_with_noise(network)


def _torchvision(model: Model, size: Size) -> nn.Module:
    torch.manual_seed(SEED)
    options = dict(input_size=size) if model.name == "maxvit_t" else {}
    network = torchvision.models.get_model(model.name, weights=None, **options)
    if model.name == "maxvit_t":
        with torch.no_grad():
            for name, value in network.named_parameters():
                if value.dim() > 1 and not name.endswith("bias_table"):
                    value.mul_(2)  # its std of .02 lets signals fade to nothing over eleven blocks
    return _fill_with_noise(network)


@torch.no_grad()
def _fill_with_noise(network: nn.Module) -> nn.Module:
    """Noise for what starts as a constant, so that a bias, a table or a statistic left out shows in the outputs."""
    generator = torch.Generator().manual_seed(SEED)
    for name, value in network.named_parameters():
        if name.endswith("bias_table"):
            value.copy_(torch.randn(value.shape, generator=generator))
        elif value.dim() == 1:
            value.add_(0.1 * torch.randn(value.shape, generator=generator))
        elif name.endswith(_BRANCH_ENDS):
            value.mul_(0.3)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
            module.running_var.copy_(0.5 + 1.5 * torch.rand(module.running_var.shape, generator=generator))
    return network


def images_for(workload: Workload, seed: int = SEED) -> Tensor:
    """The same normally distributed images for every model."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(workload.batch, 3, *workload.size, generator=generator)
