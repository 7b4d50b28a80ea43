"""The convolution half: TensorFlow's padding at odd sizes, BatchNorm's constants, folding, initial weights."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from timm.layers import create_conv2d
from torch import nn
from torch.nn import functional as F

from maxvit_dense.mbconv import MBConv, SqueezeGate, Stem, halve, pad_same
from tests import naive_maxvit
from tests.networks import fill_with_noise, largest_difference, relative_difference

SIDE = st.integers(1, 70)


def mbconv(in_chs: int, out_chs: int, stride: int) -> MBConv:
    return fill_with_noise(MBConv(in_chs, out_chs, stride)).double().eval()


@given(SIDE, SIDE)
@example(1, 1)
@example(2, 1)
def test_stride_2_convolution_pads_as_tensorflow_does(height, width):
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, 3, stride=2).double()
    x = torch.randn(2, 4, height, width, dtype=torch.float64)
    ours = conv(pad_same(x))
    assert ours.shape[2:] == (math.ceil(height / 2), math.ceil(width / 2))
    assert largest_difference(ours, naive_maxvit.same_conv(x, conv.weight, conv.bias)) < 1e-12


@pytest.mark.parametrize("size", [(64, 64), (63, 64), (5, 8), (1, 1)])
def test_stride_2_convolution_equals_timms(size):
    ours = nn.Conv2d(4, 6, 3, stride=2)
    theirs = create_conv2d(4, 6, 3, stride=2, padding="same", bias=True)
    theirs.load_state_dict(ours.state_dict())
    x = torch.randn(1, 4, *size)
    assert largest_difference(ours(pad_same(x)), theirs(x)) < 1e-6


@given(SIDE, SIDE)
@example(1, 1)
@example(7, 8)
def test_pooling_averages_real_positions_only(height, width):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, requires_grad=True)
    ours, theirs = halve(x, "mean2"), naive_maxvit.same_pool(x)
    assert largest_difference(ours, theirs) < 1e-12
    assert largest_difference(halve(torch.ones_like(x), "mean2"), torch.ones_like(ours)) == 0
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((out * weights).sum(), x)[0] for out in (ours, theirs)]
    assert largest_difference(*gradients) < 1e-12


@given(SIDE, SIDE, st.sampled_from([(16, 32, 2), (32, 32, 2), (32, 32, 1)]))
def test_mbconv_equals_the_written_out_rules(height, width, shape):
    network = mbconv(*shape)
    x = torch.randn(2, shape[0], height, width, dtype=torch.float64)
    with torch.no_grad():
        assert largest_difference(network(x), naive_maxvit.mbconv(x, network, shape[2])) < 1e-10


def test_batch_norm_in_training_sees_real_positions_and_tensorflows_momentum():
    network = mbconv(32, 32, 2).train()
    x = torch.randn(3, 32, 7, 9, dtype=torch.float64) * 2 + 1
    before = network.norm2.running_mean.clone(), network.pre_norm.running_var.clone()
    inputs = []
    network.norm2.register_forward_pre_hook(lambda m, args: inputs.append(args[0].detach()))
    network(x)
    assert inputs[0].shape == (3, 128, 4, 5)
    mean = 0.99 * before[0] + 0.01 * inputs[0].mean((0, 2, 3))
    assert largest_difference(network.norm2.running_mean, mean) < 1e-12
    var = 0.99 * before[1] + 0.01 * x.var((0, 2, 3))
    assert largest_difference(network.pre_norm.running_var, var) < 1e-12


def test_every_batch_norm_has_tensorflows_constants():
    norms = [m for net in (Stem(3, 8, 8), mbconv(16, 32, 2)) for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert [(m.eps, m.momentum) for m in norms] == [(1e-3, 0.01)] * 4


@pytest.mark.parametrize("shape", [(16, 32, 2), (32, 32, 1)])
@pytest.mark.parametrize("size", [(8, 8), (9, 5), (1, 1)])
def test_folding_batch_norm_changes_no_output(shape, size):
    network = mbconv(*shape)
    x = torch.randn(2, shape[0], *size, dtype=torch.float64)
    expected = network(x)
    network.fuse()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert largest_difference(network(x), expected) < 1e-10


def test_folding_the_stem_changes_no_output():
    stem = fill_with_noise(Stem(3, 8, 8)).double().eval()
    x = torch.randn(2, 3, 33, 20, dtype=torch.float64)
    expected = stem(x)
    stem.fuse()
    assert isinstance(stem.norm1, nn.Identity)
    assert largest_difference(stem(x), expected) < 1e-12


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(32, 32), (33, 20), (1, 1)])
def test_the_stem_sets_the_memory_layout_and_mbconv_keeps_it(channels, size):
    layout = dict(memory_format=torch.channels_last)
    stem, block = Stem(channels, 8, 8), MBConv(8, 32, 2)
    x = stem(torch.randn(2, channels, *size))
    assert x.is_contiguous(**layout)
    for parameter in (*stem.parameters(), *block.parameters()):
        assert parameter.requires_grad
    assert block(x).is_contiguous(**layout)
    if x.shape[-2:].numel() > 1:  # one position has no layout that padding could keep, nor anything to copy
        assert F.pad(x, (0, 1, 0, 1), mode="replicate").is_contiguous(**layout)  # what pooling relies on


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_gate_is_that_of_the_mean(dtype):
    se = fill_with_noise(SqueezeGate(8, rd_channels=4, act_layer=nn.SiLU)).to(dtype)
    x = torch.randn(2, 8, 31, 17).to(dtype)
    expected = x * se.gate(se.fc2(se.act(se.fc1(x.mean((2, 3), keepdim=True)))))
    assert se(x).dtype == dtype
    assert relative_difference(se(x), expected) <= 4 * torch.finfo(dtype).eps


def test_the_sum_over_a_map_of_half_precision_does_not_overflow():
    se = SqueezeGate(8, rd_channels=4, act_layer=nn.SiLU).half()
    assert se(torch.full((1, 8, 300, 300), 2.0, dtype=torch.float16)).isfinite().all()  # the sum is 180,000


def test_initial_weights_keep_the_fan_out_variance():
    torch.manual_seed(0)
    network = MBConv(64, 128, 2)
    network.init_weights()
    for conv, fan_out in (
        (network.conv1_1x1, 512),
        (network.conv2_kxk, 9),
        (network.conv3_1x1, 128),
        (network.se.fc1, 32),
    ):
        assert conv.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.1)
        assert conv.bias is None or not conv.bias.any()


def test_squeeze_and_excitation_is_a_quarter_of_the_output_width():
    assert mbconv(16, 96, 2).se.fc1.out_channels == 24
