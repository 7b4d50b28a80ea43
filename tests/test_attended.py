"""Where a position looks: windows by the paper's definition, weights by a softmax written out."""

import pytest
import timm
import torch

import maxvit_dense  # noqa: F401
from maxvit_dense.attended import attended
from maxvit_dense.attention import WindowAttention


@pytest.fixture(scope="module")
def net():
    return timm.create_model("maxvit_mini", features_only=True).eval()


def naive_window(height, width, y, x, grid, side=7):
    """Positions that share a window with (y, x), from the rules of block and grid partition."""
    rows, columns = -(-height // side), -(-width // side)  # windows along each axis
    ys, xs = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    if grid:
        return (ys % rows == y % rows) & (xs % columns == x % columns)
    return (ys // side == y // side) & (xs // side == x // side)


@pytest.mark.parametrize("size", [(224, 224), (150, 333), (40, 64)])
@pytest.mark.parametrize("place", [(0.0, 0.0), (0.37, 0.81), (1.0, 1.0)])
def test_windows_are_the_papers(net, size, place):
    layers = attended(net, torch.randn(1, 3, *size), *place)
    assert [(layer.stage, layer.grid) for layer in layers] == [(s, g) for s in range(4) for g in (False, True)]
    for layer in layers:
        stride = 4 * 2**layer.stage
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        assert layer.weights.shape == (height, width)
        y, x = min(int(place[0] * height), height - 1), min(int(place[1] * width), width - 1)
        assert torch.equal(layer.window, naive_window(height, width, y, x, layer.grid))
        assert layer.weights[~layer.window].abs().sum() == 0 and (layer.weights >= 0).all()
        torch.testing.assert_close(layer.weights.sum(), torch.tensor(1.0))


def test_weights_are_those_of_the_softmax(net):
    """Of the last grid layer, whose map is one window, so that queries and keys are all positions."""
    layer = [part for part in net.modules() if isinstance(part, WindowAttention)][-1]
    calls = []
    hook = layer.register_forward_pre_hook(lambda module, args: calls.append(args))
    image = torch.randn(1, 3, 224, 224)
    found = attended(net, image, 0.5, 0.3)[-1]
    hook.remove()
    y, x = int(0.5 * 7), int(0.3 * 7)
    with torch.no_grad():
        q, k, _ = layer.qkv(calls[0][0]).view(49, 3, layer.num_heads, 32).unbind(1)
        table = layer.rel_pos.relative_position_bias_table
        ys, xs = torch.meshgrid(torch.arange(7), torch.arange(7), indexing="ij")
        bias = table[:, (ys - y + 6).flatten(), (xs - x + 6).flatten()]  # (heads, keys)
        scores = torch.einsum("hd,khd->hk", q[y * 7 + x], k) / 32**0.5 + bias
    torch.testing.assert_close(found.weights.flatten(), scores.softmax(1).mean(0), atol=1e-6, rtol=1e-4)


def test_nothing_stays_hooked(net):
    attended(net, torch.randn(1, 3, 64, 64), 0.5, 0.5)
    assert not any(part._forward_pre_hooks for part in net.modules())
