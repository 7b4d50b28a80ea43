"""TensorFlow checkpoints of the official code: every variable finds its place and orientation.

Variables are made in the layout of google-research/maxvit ``maxvit/models/maxvit.py``, and layers are computed from
them in numpy as that file does, channels last.
"""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch

from maxvit_dense.errors import InputError
from maxvit_dense.export.write import identify
from maxvit_dense.partition_cache import find_partitions
from maxvit_dense.weights.tensorflow_layout import from_tensorflow, has_averages, is_tensorflow, read_tensorflow

# MaxViT-mini, the smallest that this package knows.
STEM, DIMS, DEPTHS = 32, (32, 64, 128, 256), (1, 1, 2, 1)
AVERAGE = "/ExponentialMovingAverage"


def batch_norm(name, width):
    names = ("gamma", "beta", "moving_mean", "moving_variance")
    return {f"{name}/{variable}": (width,) for variable in names}


def layer_norm(name, width):
    return {f"{name}/gamma": (width,), f"{name}/beta": (width,)}


def block_shapes(name, into, width, vocab=13):
    wide, heads = 4 * width, width // 32
    shapes = {}
    if into != width:
        shapes |= {f"{name}/mbconv/shortcut_conv/kernel": (1, 1, into, width)}
        shapes |= {f"{name}/mbconv/shortcut_conv/bias": (width,)}
    shapes |= batch_norm(f"{name}/mbconv/pre_norm", into)
    shapes |= {f"{name}/mbconv/expand_conv/kernel": (1, 1, into, wide)} | batch_norm(f"{name}/mbconv/expand_norm", wide)
    shapes |= {f"{name}/mbconv/depthwise_conv/depthwise_kernel": (3, 3, wide, 1)}
    shapes |= batch_norm(f"{name}/mbconv/depthwise_norm", wide)
    for layer, ins, outs in (
        ("se/reduce_conv2d", wide, width // 4),
        ("se/expand_conv2d", width // 4, wide),
        ("shrink_conv", wide, width),
    ):
        shapes |= {f"{name}/mbconv/{layer}/kernel": (1, 1, ins, outs), f"{name}/mbconv/{layer}/bias": (outs,)}
    for end in ("", "_1"):
        shapes |= layer_norm(f"{name}/attn_layer_norm{end}", width) | layer_norm(f"{name}/ffn_layer_norm{end}", width)
        for part in "qkv":
            shapes[f"{name}/attention{end}/{part}/weight"] = (width, heads, 32)
            shapes[f"{name}/attention{end}/{part}/bias"] = (heads, 32)
        shapes |= {f"{name}/attention{end}/o/weight": (heads, 32, width), f"{name}/attention{end}/o/bias": (width,)}
        shapes[f"{name}/attention{end}/relative_bias"] = (heads, vocab, vocab)
        shapes |= {f"{name}/ffn{end}/expand_dense/weight": (width, wide), f"{name}/ffn{end}/expand_dense/bias": (wide,)}
        shapes |= {f"{name}/ffn{end}/shrink_dense/weight": (wide, width)}
        shapes |= {f"{name}/ffn{end}/shrink_dense/bias": (width,)}
    return shapes


def official_shapes(classes=5, scope="maxvit/"):
    shapes = {"stem/conv_0/kernel": (3, 3, 3, STEM), "stem/conv_0/bias": (STEM,)} | batch_norm("stem/norm_0", STEM)
    shapes |= {"stem/conv_1/kernel": (3, 3, STEM, STEM), "stem/conv_1/bias": (STEM,)}
    into = STEM
    for stage, (width, depth) in enumerate(zip(DIMS, DEPTHS, strict=True)):
        for block in range(depth):
            shapes |= block_shapes(f"block_{stage:02}_{block:02}", into, width)
            into = width
    shapes |= layer_norm("final_layer_norm", into)
    shapes |= {"cls_head/inner_dense/weight": (into, into), "cls_head/inner_dense/bias": (into,)}
    shapes |= {"cls_head/logit_dense/weight": (into, classes), "cls_head/logit_dense/bias": (classes,)}
    return {scope + name: shape for name, shape in shapes.items()}


def noise(shapes, seed=0):
    draw = np.random.default_rng(seed)
    made = {}
    for name, shape in shapes.items():
        value = draw.standard_normal(shape).astype(np.float32)
        if name.endswith("moving_variance"):
            value = np.abs(value) + 0.5
        elif name.endswith(("kernel", "weight")):  # keeps signals near 1
            value /= np.sqrt(
                np.prod(shape[:2]) if name.endswith("/o/weight") else max(shape[0] * np.prod(shape[:-1]), 1)
            )
        made[name] = value
    return made


@pytest.fixture(scope="module")
def variables():
    return noise(official_shapes())


@pytest.fixture(scope="module")
def network(variables):
    net = timm.create_model("maxvit_mini", num_classes=5).eval()
    net.load_state_dict(from_tensorflow(variables), strict=True)
    return net


# The official layers, in numpy.


def gelu(x):
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalise_batch(x, v, name):
    scale = v[f"{name}/gamma"] / np.sqrt(v[f"{name}/moving_variance"] + 1e-3)
    return (x - v[f"{name}/moving_mean"]) * scale + v[f"{name}/beta"]


def normalise_layer(x, v, name):
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return x * v[f"{name}/gamma"] + v[f"{name}/beta"]


def shifted(x, stride):
    """The nine shifts of (B, H, W, C), H and W even, that a SAME 3x3 convolution multiplies, by its kernel's place."""
    pad = (0, 1) if stride == 2 else (1, 1)
    height, width = x.shape[1:3]
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    return {(i, j): x[:, i : i + height : stride, j : j + width : stride] for i in range(3) for j in range(3)}


def conv3x3(x, v, name, stride):
    return sum(part @ v[f"{name}/kernel"][place] for place, part in shifted(x, stride).items()) + v[f"{name}/bias"]


def conv1x1(x, v, name, bias=True):
    return x @ v[f"{name}/kernel"][0, 0] + (v[f"{name}/bias"] if bias else 0)


def dense(x, v, name):
    return x @ v[f"{name}/weight"] + v[f"{name}/bias"]


def mbconv(x, v, name, stride):
    shortcut = x
    if stride == 2:
        shortcut = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    if f"{name}/shortcut_conv/kernel" in v:
        shortcut = conv1x1(shortcut, v, f"{name}/shortcut_conv")
    x = conv1x1(normalise_batch(x, v, f"{name}/pre_norm"), v, f"{name}/expand_conv", bias=False)
    x = gelu(normalise_batch(x, v, f"{name}/expand_norm"))
    kernel = v[f"{name}/depthwise_conv/depthwise_kernel"]
    x = sum(part * kernel[place][:, 0] for place, part in shifted(x, stride).items())
    x = gelu(normalise_batch(x, v, f"{name}/depthwise_norm"))
    squeezed = conv1x1(x.mean((1, 2), keepdims=True), v, f"{name}/se/reduce_conv2d")
    x = x * sigmoid(conv1x1(squeezed * sigmoid(squeezed), v, f"{name}/se/expand_conv2d"))
    return shortcut + conv1x1(x, v, f"{name}/shrink_conv")


def attention(x, v, name, side=7):
    """(windows, side * side, C): query s, key t, head n, head size k."""
    q, k, value = (
        np.einsum("bsc,cnk->bsnk", x, v[f"{name}/{part}/weight"]) + v[f"{name}/{part}/bias"] for part in "qkv"
    )
    scores = np.einsum("bsnk,btnk->bnst", q / np.sqrt(32), k)
    row, col = np.divmod(np.arange(side * side), side)
    bias = np.empty(scores.shape[1:])
    for s in range(side * side):
        for t in range(side * side):
            place = row[t] - row[s] + side - 1, col[t] - col[s] + side - 1
            bias[:, s, t] = v[f"{name}/relative_bias"][(slice(None), *place)]
    scores = np.exp(scores + bias)
    out = np.einsum("bnst,btnk->bsnk", scores / scores.sum(-1, keepdims=True), value)
    return np.einsum("bsnk,nkc->bsc", out, v[f"{name}/o/weight"]) + v[f"{name}/o/bias"]


def attend(x, v, block, end, window=7):
    """Attention and MLP over the windows (end "") or the grid ("_1") of a square map."""
    cells = x.shape[1] // window
    shape = (-1, cells, window, cells, window) if end == "" else (-1, window, cells, window, cells)
    axes = (0, 1, 3, 2, 4, 5) if end == "" else (0, 2, 4, 1, 3, 5)
    y = normalise_layer(x, v, f"{block}/attn_layer_norm{end}").reshape(*shape, x.shape[-1]).transpose(axes)
    out = attention(y.reshape(-1, window * window, x.shape[-1]), v, f"{block}/attention{end}").reshape(y.shape)
    x = x + out.transpose(np.argsort(axes)).reshape(x.shape)
    y = gelu(dense(normalise_layer(x, v, f"{block}/ffn_layer_norm{end}"), v, f"{block}/ffn{end}/expand_dense"))
    return x + dense(y, v, f"{block}/ffn{end}/shrink_dense")


def maps_of(*shape, seed=1):
    """The same noise for numpy, channels last, and for PyTorch."""
    x = np.random.default_rng(seed).standard_normal(shape)
    return x, torch.from_numpy(x.astype(np.float32)).permute(0, 3, 1, 2)


def assert_same(ours, wanted):
    if ours.dim() == 4:
        ours = ours.permute(0, 2, 3, 1)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(ours.detach().numpy(), wanted, atol=2e-4 * np.abs(wanted).max(), rtol=0)


def test_the_stem_computes_what_the_official_one_does(network, variables):
    images, ours = maps_of(2, 16, 12, 3)
    wanted = gelu(normalise_batch(conv3x3(images, variables, "maxvit/stem/conv_0", 2), variables, "maxvit/stem/norm_0"))
    assert_same(network.stem(ours), conv3x3(wanted, variables, "maxvit/stem/conv_1", 1))


@pytest.mark.parametrize(
    ("stage", "block", "into", "stride"), [(0, 0, 32, 2), (1, 0, 32, 2), (2, 0, 64, 2), (2, 1, 128, 1)]
)
def test_mbconv_computes_what_the_official_one_does(network, variables, stage, block, into, stride):
    x, ours = maps_of(1, 12, 10, into)
    wanted = mbconv(x, variables, f"maxvit/block_{stage:02}_{block:02}/mbconv", stride)
    assert_same(network.stages[stage].blocks[block].conv(ours), wanted)


@pytest.mark.parametrize(("end", "ours"), [("", "attn_block"), ("_1", "attn_grid")])
@pytest.mark.parametrize("stage", [0, 1])
def test_attention_computes_what_the_official_one_does(network, variables, stage, end, ours):
    x, maps = maps_of(1, 14, 14, DIMS[stage])
    partition = dict(zip(("attn_block", "attn_grid"), find_partitions(maps, 14, 14, (7, 7)), strict=True))
    layer = getattr(network.stages[stage].blocks[0], ours)
    with torch.no_grad():
        found = layer(maps.permute(0, 2, 3, 1), partition[ours]).permute(0, 3, 1, 2)
    assert_same(found, attend(x, variables, f"maxvit/block_{stage:02}_00", end))


def test_the_head_computes_what_the_official_one_does(network, variables):
    x, ours = maps_of(3, 2, 2, DIMS[-1])
    hidden = dense(
        normalise_layer(x.mean((1, 2)), variables, "maxvit/final_layer_norm"), variables, "maxvit/cls_head/inner_dense"
    )
    assert_same(network.forward_head(ours), dense(np.tanh(hidden), variables, "maxvit/cls_head/logit_dense"))


def test_every_block_gets_its_own_variables(network, variables):
    for stage, depth in enumerate(DEPTHS):
        for block in range(depth):
            ours, name = network.stages[stage].blocks[block], f"maxvit/block_{stage:02}_{block:02}"
            for layer, theirs in (
                (ours.conv.conv3_1x1.bias, "mbconv/shrink_conv/bias"),
                (ours.attn_block.mlp.fc2.bias, "ffn/shrink_dense/bias"),
                (ours.attn_grid.mlp.fc2.bias, "ffn_1/shrink_dense/bias"),
                (ours.attn_grid.attn.rel_pos.relative_position_bias_table, "attention_1/relative_bias"),
            ):
                np.testing.assert_array_equal(layer.detach().numpy(), variables[f"{name}/{theirs}"])


@pytest.mark.parametrize("scope", ["", "maxvit_1/", "tower/model/maxvit/"])
def test_the_scope_before_the_names_does_not_matter(variables, scope):
    moved = {scope + name.removeprefix("maxvit/"): value for name, value in variables.items()}
    ours, wanted = from_tensorflow(moved), from_tensorflow(variables)
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_averages_are_taken_unless_the_raw_weights_are_asked_for(variables):
    averages = {name + AVERAGE: value + 1 for name, value in variables.items()}
    both = variables | averages
    name = "maxvit/block_00_00/mbconv/shrink_conv/bias"
    ours = "stages.0.blocks.0.conv.conv3_1x1.bias"
    assert has_averages(both) and not has_averages(variables)
    np.testing.assert_array_equal(from_tensorflow(both)[ours], averages[name + AVERAGE])
    np.testing.assert_array_equal(from_tensorflow(both, averaged=False)[ours], variables[name])
    np.testing.assert_array_equal(from_tensorflow(averages)[ours], averages[name + AVERAGE])


def test_statistics_without_an_average_are_taken_as_they_are(variables):
    averages = {name + AVERAGE: value + 1 for name, value in variables.items() if "/moving_" not in name}
    weights = from_tensorflow(variables | averages)
    np.testing.assert_array_equal(weights["stem.norm1.running_mean"], variables["maxvit/stem/norm_0/moving_mean"])
    np.testing.assert_array_equal(weights["stem.norm1.weight"], variables["maxvit/stem/norm_0/gamma"] + 1)


def test_an_average_missing_among_others_is_named(variables):
    averages = {name + AVERAGE: value for name, value in variables.items() if not name.endswith("logit_dense/bias")}
    with pytest.raises(InputError, match="1 variables have no average.*logit_dense/bias.*--raw"):
        from_tensorflow(variables | averages)


class Guarded(dict):
    """Variables of which some must not be read."""

    def __getitem__(self, name):
        assert not name.endswith(("adam_m", "/m", "Adam_1", AVERAGE)), f"{name} was read"
        return super().__getitem__(name)


def test_optimizer_state_is_ignored_and_never_read(variables):
    state = {f"{name}/{slot}": value for name, value in variables.items() for slot in ("adam_m", "m", "Adam_1")}
    state |= {"global_step": np.array(7), "beta1_power": np.array(0.9), "training/AdamW/iter": np.array(7)}
    state |= {name + AVERAGE: value for name, value in variables.items()}
    assert from_tensorflow(Guarded(variables | state), averaged=False).keys() == from_tensorflow(variables).keys()


@pytest.mark.parametrize(
    "name",
    ["maxvit/block_00_00/mbconv/extra/kernel", "maxvit/embedding/weight", "resnet/conv_7/kernel", "other/adam_m"],
)
def test_an_unknown_variable_is_named(variables, name):
    with pytest.raises(InputError, match=f"1 of its .* names unknown there \\({name}\\)"):
        from_tensorflow(variables | {name: np.zeros(3, np.float32)})


def test_two_networks_in_one_checkpoint_are_refused(variables):
    with pytest.raises(InputError, match="two networks: maxvit/stem/conv_0/kernel and teacher/stem/conv_0/kernel"):
        from_tensorflow(variables | {name.replace("maxvit/", "teacher/"): v for name, v in variables.items()})


@pytest.mark.parametrize("left_out", ["block_02_01/attention_1/k/weight", "stem/norm_0/moving_variance"])
def test_a_missing_variable_is_named(variables, left_out):
    fewer = {name: value for name, value in variables.items() if not name.endswith(left_out)}
    ours = "stages.2.blocks.1.attn_grid.attn.qkv.weight" if "attention" in left_out else "stem.norm1.running_var"
    with pytest.raises(InputError, match=f"1 missing from the checkpoint \\({ours}\\)"):
        identify(from_tensorflow(fewer))


def test_a_variable_with_other_axes_is_named(variables):
    name = "maxvit/block_00_00/attention/q/weight"
    with pytest.raises(InputError, match=r"q/weight has the shape \[32, 32\].*3 axes"):
        from_tensorflow(variables | {name: np.zeros((32, 32), np.float32)})


def test_the_size_is_found_from_the_shapes(variables):
    network = identify(from_tensorflow(variables))
    assert (network.variant, network.num_classes, network.table_window) == ("maxvit_mini", 5, (7, 7))


def test_a_dump_is_read_without_tensorflow(variables, tmp_path):
    np.savez(tmp_path / "dump.npz", **variables)
    assert is_tensorflow(tmp_path / "dump.npz")
    ours, wanted = from_tensorflow(read_tensorflow(tmp_path / "dump.npz")), from_tensorflow(variables)
    assert ours.keys() == wanted.keys() and all(torch.equal(ours[name], wanted[name]) for name in wanted)


def test_a_dump_with_objects_is_refused_without_unpickling(variables, tmp_path):
    np.savez(tmp_path / "dump.npz", **variables | {"maxvit/stem/conv_0/bias": np.array([dict()])})
    with pytest.raises(InputError, match="stem/conv_0/bias cannot be read"):
        from_tensorflow(read_tensorflow(tmp_path / "dump.npz"))


@pytest.mark.parametrize("fault", ["cut", "damaged", "text", "one array", "absent"])
def test_a_broken_dump_is_told(variables, tmp_path, fault):
    path = tmp_path / "dump.npz"
    np.savez_compressed(path, **variables)
    whole = bytearray(path.read_bytes())
    whole[2000:3000] = bytes(1000)
    np.save(tmp_path / "one.npy", np.zeros(3))
    path.write_bytes(
        dict(cut=whole[:5000], damaged=whole, text=b"no dump").get(fault) or (tmp_path / "one.npy").read_bytes()
    )
    if fault == "absent":
        path.unlink()
    with pytest.raises(InputError, match="no .npz dump|cannot be read"):
        from_tensorflow(read_tensorflow(path))


@pytest.fixture
def checkpoint(tmp_path):
    """Path of a checkpoint's prefix, its files empty."""
    (tmp_path / "model.ckpt-7.index").touch()
    (tmp_path / "model.ckpt-7.data-00000-of-00001").touch()
    return tmp_path / "model.ckpt-7"


def test_a_checkpoint_is_read_through_tensorflow_if_it_is_installed(variables, checkpoint, monkeypatch):
    reader = SimpleNamespace(
        get_variable_to_shape_map=lambda: {name: value.shape for name, value in variables.items()},
        get_tensor=variables.__getitem__,
    )
    opened = []
    module = SimpleNamespace(train=SimpleNamespace(load_checkpoint=lambda path: opened.append(path) or reader))
    monkeypatch.setitem(sys.modules, "tensorflow", module)
    for path in (checkpoint, checkpoint.with_name(checkpoint.name + ".index")):
        assert is_tensorflow(path)
        assert from_tensorflow(read_tensorflow(path)).keys() == from_tensorflow(variables).keys()
    assert opened == [str(checkpoint)] * 2


def test_without_tensorflow_the_error_says_how_to_make_a_dump(checkpoint, monkeypatch):
    monkeypatch.delitem(sys.modules, "tensorflow", raising=False)
    monkeypatch.setattr("maxvit_dense.weights.tensorflow_layout.find_spec", lambda name: None)
    with pytest.raises(InputError, match="TensorFlow is not installed here.*dump.npz"):
        read_tensorflow(checkpoint)
