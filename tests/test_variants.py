"""Sizes, names, published tags, weight files, and what bad input is told."""

import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models import get_pretrained_cfg
from torch.utils.flop_counter import FlopCounterMode

import maxvit_dense
from maxvit_dense import variants
from maxvit_dense.weights.fit import checkpoint_filter_fn
from tests.project_files import ROOT

TIMM_SIZES = dict(t="tiny", s="small", b="base", l="large", xl="xlarge")
OURS_BY_TIMM = {long: short for short, long in TIMM_SIZES.items()}
PUBLISHED = timm.list_pretrained("maxvit_*_tf_*") + timm.list_pretrained("*_rw*_*")
PUBLISHED = [
    name
    for name in PUBLISHED
    if name.startswith(("maxvit_", "coatnet_")) and name.partition(".")[0] not in variants.CONFIGS
]
TABLE = "stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"
# Recipes of the paper (tables 1 and 11) and timm's counts: parameters with 1000 classes, GMACs at 224, 384, 512.
FIGURES = {
    "maxvit_t": (30_916_528, 5.60, 17.53, 33.49),
    "maxvit_s": (68_927_956, 11.66, 35.87, 67.26),
    "maxvit_b": (119_467_708, 24.04, 73.80, 138.02),
    "maxvit_l": (211_785_560, 43.68, 132.55, 244.75),
}
# timm's own: millions of parameters (timm results/results-imagenet.csv, README).
RW_PARAMETERS = {
    "maxvit_pico": 7.52,
    "maxvit_nano": 15.50,
    "maxvit_nano.rw_256": 15.45,
    "maxvit_tiny": 29.15,
    "maxvit_tiny.rw_224": 29.06,
    "maxvit_small": 64.90,
    "maxvit_base": 116.14,
}


def our_name(timm_name):
    """maxvit_tiny_tf_384.in1k -> maxvit_t.in1k_384; maxvit_rmlp_nano_rw_256.sw_in1k -> maxvit_nano.rmlp_rw_256"""
    architecture, tag = timm_name.split(".")
    *words, line, img_size = architecture.split("_")
    if words[0] == "coatnet":  # timm's name without the size
        return f"{'_'.join([*words, line])}.{tag}" + ("" if img_size == "224" else f"_{img_size}")
    if line == "tf":
        return f"maxvit_{OURS_BY_TIMM[words[-1]]}.{tag}" + ("" if img_size == "224" else f"_{img_size}")
    style = "_".join([*words[1:-1], line, img_size])
    return f"maxvit_{words[-1]}.{style}" + ("" if tag == "sw_in1k" else tag.removeprefix("sw"))


@pytest.mark.parametrize("name", FIGURES)
def test_parameter_counts_are_the_published_ones(name):
    assert sum(p.numel() for p in timm.create_model(name, device="meta").parameters()) == FIGURES[name][0]


@pytest.mark.parametrize("name", RW_PARAMETERS)
def test_parameter_counts_of_timms_networks_are_the_published_ones(name):
    count = sum(p.numel() for p in timm.create_model(name, device="meta").parameters())
    assert count / 1e6 == pytest.approx(RW_PARAMETERS[name], abs=0.006)


def test_xl_has_about_475_million_parameters_without_weights_1000_classes():
    net = timm.create_model("maxvit_xl", device="meta")
    assert net.num_classes == 1000
    assert sum(p.numel() for p in net.parameters()) == pytest.approx(475e6, rel=2e-3)


def multiply_adds(net, img_size):
    """Of the matrix products and convolutions, the bulk of what published counts hold."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net.eval()(torch.empty(1, 3, img_size, img_size, device="meta"))
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("img_size", [224, 384, 512])
@pytest.mark.parametrize("name", FIGURES)
def test_multiply_adds_are_the_published_ones(name, img_size):
    ours = multiply_adds(timm.create_model(name, img_size=img_size, device="meta"), img_size)
    reference = timm.create_model(f"maxvit_{TIMM_SIZES[name[-1]]}_tf_{img_size}", device="meta")
    # timm reads the bias table by two products with one-hot matrices, ours by its index; all else is the same.
    heads = sum(len(m) for n, m in reference.state_dict().items() if n.endswith("bias_table"))
    p = img_size // 32
    lookup = heads * p * p * (2 * p - 1) * ((2 * p - 1) + p * p)
    assert ours == multiply_adds(reference, img_size) - lookup
    # Published counts have normalisation and pooling too, up to 2% of the whole.
    published = FIGURES[name][1 + (224, 384, 512).index(img_size)]
    assert ours / 1e9 == pytest.approx(published, rel=0.02)


def test_every_published_checkpoint_has_our_name_and_no_other_exists():
    ours = [f"{n}.{tag}" for n in variants.CONFIGS for tag in variants.default_cfgs[n].cfgs if tag != "untrained"]
    assert sorted(ours) == sorted([*map(our_name, PUBLISHED), "maxvit_t.tv_in1k"])
    assert len(ours) == 46


@pytest.mark.parametrize("timm_name", PUBLISHED)
def test_a_tag_describes_its_weights_as_timm_does(timm_name):
    theirs, ours = get_pretrained_cfg(timm_name), get_pretrained_cfg(our_name(timm_name))
    assert ours.hf_hub_id == f"timm/{timm_name}"
    for field in ("mean", "std", "crop_pct", "crop_mode", "interpolation", "input_size", "num_classes", "classifier"):
        assert getattr(ours, field) == getattr(theirs, field), field
    side = ours.input_size[-1] // 32
    assert ours.pool_size == (side, side)


@pytest.mark.parametrize("timm_name", PUBLISHED)
def test_a_tag_has_the_tables_window_and_head_it_was_trained_with(timm_name):
    theirs = timm.create_model(timm_name, device="meta")
    ours = timm.create_model(our_name(timm_name), device="meta")
    shapes = [{name: value.shape for name, value in net.state_dict().items()} for net in (theirs, ours)]
    assert shapes[0] == shapes[1]
    side = int(timm_name.split(".")[0].split("_")[-1]) // 32
    assert ours.window_size == (side, side)


def weights_made_by_timm(timm_name):
    """Of a published tag's shapes: tables of noise, and for the rest, which loading must not touch, shapes alone."""
    weights = timm.create_model(timm_name, device="meta").state_dict()
    tables = [name for name in weights if name.endswith("bias_table")]
    return weights | {name: torch.randn(weights[name].shape) for name in tables}, tables


def half_pixel_bilinear(table, side):
    """Bilinear resize of (h, n, n) by its definition, one axis after the other, edges held."""
    n = table.shape[-1]
    places = ((np.arange(side) + 0.5) * n / side - 0.5).clip(0, n - 1)
    low = np.floor(places).astype(int).clip(0, n - 2)
    along = np.zeros((side, n))
    along[np.arange(side), low] = 1 - (places - low)
    along[np.arange(side), low + 1] = places - low
    return torch.from_numpy(np.einsum("yr,hrc,xc->hyx", along, table.double().numpy(), along)).float()


def side_of(table):
    return table.shape[-1] if table.dim() == 3 else round(len(table) ** 0.5)


def resized_as_kept(table, side):
    """A table (h, n, n), or (n * n, h), resized."""
    if table.dim() == 3:
        return half_pixel_bilinear(table, side)
    n = side_of(table)
    return half_pixel_bilinear(table.T.reshape(-1, n, n), side).flatten(1).T


@pytest.mark.parametrize("timm_name", PUBLISHED)
def test_published_weights_load_strictly_at_the_tags_own_tables_and_at_others(timm_name):
    weights, tables = weights_made_by_timm(timm_name)
    own = int(timm_name.partition(".")[0].split("_")[-1])
    for img_size in (own, 384 if own == 224 else 224):
        ours = timm.create_model(our_name(timm_name), img_size=img_size, device="meta")
        ours.load_state_dict(checkpoint_filter_fn(dict(weights), ours), strict=True, assign=True)
        loaded = ours.state_dict()
        for name in tables:
            wanted = weights[name] if img_size == own else resized_as_kept(weights[name], side_of(loaded[name]))
            torch.testing.assert_close(loaded[name], wanted, rtol=0, atol=0 if img_size == own else 1e-5)
        assert all(loaded[name].shape == value.shape for name, value in weights.items() if name not in tables)


@pytest.mark.parametrize("tag", ["in1k", "in1k_384", "in1k_512"])
def test_a_file_of_published_weights_loads_by_its_tag(tag, tmp_path):
    img_size = int(tag.partition("_")[2] or "224")
    weights = timm.create_model(f"maxvit_tiny_tf_{img_size}").state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    overlay = dict(file=str(tmp_path / "model.safetensors"))
    loaded = timm.create_model(f"maxvit_t.{tag}", pretrained=True, pretrained_cfg_overlay=overlay).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_a_bare_name_has_window_7():
    assert timm.create_model("maxvit_t", device="meta").window_size == (7, 7)


def test_an_unknown_tag_is_told_the_known_ones():
    with pytest.raises(ValueError, match="maxvit_t has in1k, in1k_384, in1k_512"):
        timm.create_model("maxvit_t.in22k")


def test_a_name_that_timm_owns_is_left_alone():
    code = """
import warnings
import timm
@timm.models.register_model
def maxvit_t(pretrained=False, **kwargs):
    pass
warnings.simplefilter("error", UserWarning)  # timm's, where a name is registered twice
import maxvit_dense
print(timm.models.model_entrypoint("maxvit_t") is maxvit_t, timm.is_model("maxvit_s"))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert run.stdout == "True True\n", run.stderr
    assert "timm already has a model maxvit_t: kept, ours is not registered" in run.stderr


def test_without_a_network_the_error_says_how_to_pass_a_file(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(OSError, match=r"maxvit_tiny_tf_384\.in1k.*pretrained_cfg_overlay=dict\(file="):
        timm.create_model("maxvit_t.in1k_384", pretrained=True)


@pytest.fixture
def mini_file(tmp_path):
    net = timm.create_model("maxvit_mini", img_size=384).eval()
    path = tmp_path / "mini.safetensors"
    save_file(net.state_dict(), path)
    return net, path


def test_a_local_file_loads_where_pretrained_weights_would(mini_file):
    net, path = mini_file
    overlay = dict(file=str(path))
    loaded = timm.create_model("maxvit_mini", pretrained=True, img_size=384, pretrained_cfg_overlay=overlay).eval()
    image = torch.randn(1, 3, 70, 50)
    assert torch.equal(loaded(image), net(image))
    assert torch.equal(timm.create_model("maxvit_mini", img_size=384, checkpoint_path=path).eval()(image), net(image))


def test_tables_of_another_size_are_resized_bilinearly_on_loading(mini_file):
    net, path = mini_file
    loaded = timm.create_model("maxvit_mini", pretrained=True, pretrained_cfg_overlay=dict(file=str(path)))
    expected = torch.nn.functional.interpolate(net.state_dict()[TABLE][None], size=(13, 13), mode="bilinear")[0]
    torch.testing.assert_close(loaded.state_dict()[TABLE], expected)


def test_features_only_and_other_channels_take_pretrained_weights(mini_file):
    net, path = mini_file
    kwargs = dict(pretrained=True, img_size=384, pretrained_cfg_overlay=dict(file=str(path)))
    features = timm.create_model("maxvit_mini", features_only=True, **kwargs).eval()
    image = torch.randn(1, 3, 64, 40)
    for a, b in zip(features(image), net.forward_intermediates(image, intermediates_only=True), strict=True):
        assert torch.equal(a, b)
    grey = timm.create_model("maxvit_mini", in_chans=1, num_classes=3, **kwargs)
    torch.testing.assert_close(grey.stem.conv1.weight, net.stem.conv1.weight.sum(1, keepdim=True))


def test_weights_of_another_size_are_refused_in_one_message(mini_file):
    _, path = mini_file
    overlay = dict(file=str(path))
    with pytest.raises(ValueError, match="stage widths are 32, 64, 128, 256, the network's 64, 128, 256, 512"):
        timm.create_model("maxvit_t", pretrained=True, pretrained_cfg_overlay=overlay)


@pytest.mark.parametrize("window", [0, -7, 7.0, True, (7,), (7, 7, 7), (7, 0), "Ratio", "7"])
def test_a_bad_window_is_told_what_is_allowed(window):
    with pytest.raises(ValueError, match="positive int, a pair .* or 'ratio'"):
        timm.create_model("maxvit_mini", window_size=window)


@pytest.mark.parametrize("img_size", [0, -1, (224, 0), 224.0, True])
def test_a_bad_img_size_is_told_what_is_allowed(img_size):
    with pytest.raises(ValueError, match="positive number of pixels"):
        timm.create_model("maxvit_mini", img_size=img_size)


@pytest.mark.parametrize("out_indices", [(5,), (-6,), (0, 7), (), 0, 6, True, (1.0,), (3, 1), (1, 1), (4, -1)])
def test_bad_out_indices_are_told_what_is_allowed(out_indices):
    with pytest.raises(ValueError, match="there are 5 maps"):
        timm.create_model("maxvit_mini", features_only=True, out_indices=out_indices)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 32, 32), r"takes \(batch, 3, height, width\)"),
        ((1, 4, 32, 32), "have 4 channels: this network was built for 3"),
        ((1, 3, 0, 32), "at least 1 pixel"),
        ((1, 3, 32, 0), "at least 1 pixel"),
    ],
)
@pytest.mark.parametrize("features_only", [False, True])
def test_bad_images_are_told_what_is_allowed(shape, message, features_only):
    net = timm.create_model("maxvit_mini", features_only=features_only)
    with pytest.raises(ValueError, match=message):
        net(torch.zeros(shape))


@pytest.mark.parametrize("in_chans", [1, 3])
@pytest.mark.parametrize("size", [(64, 64), (61, 95)])
def test_maps_stay_channels_last_so_the_halves_share_memory(in_chans, size):
    net = timm.create_model("maxvit_mini", in_chans=in_chans).eval()
    seen = []

    def check(module, args, output):
        x = args[0]
        seen.append(x.is_contiguous() and output.is_contiguous())  # (B, H, W, C): no copy was needed to read it so

    for name, module in net.named_modules():
        if name.endswith(("attn_block", "attn_grid")):
            module.register_forward_hook(check)
        elif name.endswith((".conv", ".conv2_kxk", "stem")):
            module.register_forward_hook(
                lambda m, a, out: seen.append(out.is_contiguous(memory_format=torch.channels_last))
            )
    net(torch.randn(2, in_chans, *size))
    assert len(seen) == 1 + 5 * 4 and all(seen)


def test_importing_registers_without_a_warning():
    assert maxvit_dense.__version__
    assert set(variants.CONFIGS) <= set(timm.list_models())
