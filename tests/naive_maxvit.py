"""The forward pass written out from its rules, slowly: one Python loop a window, nothing shared with the package.

Only the parameters of a network of the package are read. Where a map is extended, the added positions hold NaN, and
never take part: every window is computed from its real tokens alone.
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F


def ceil_half(n):
    return -(-n // 2)


def same_conv(x, weight, bias, groups=1):
    """Stride-2 convolution with TensorFlow's SAME padding, its size written as in TensorFlow's documentation."""
    k = weight.shape[-1]
    pads = []
    for n in (x.shape[3], x.shape[2]):
        total = max((ceil_half(n) - 1) * 2 + k - n, 0)
        pads += [total // 2, total - total // 2]
    return F.conv2d(F.pad(x, pads), weight, bias, stride=2, groups=groups)


def same_pool(x):
    """2x2 mean of stride 2 over the positions that exist."""
    rows = []
    for i in range(0, x.shape[2], 2):
        rows.append(torch.stack([x[:, :, i : i + 2, j : j + 2].mean((2, 3)) for j in range(0, x.shape[3], 2)], -1))
    return torch.stack(rows, 2)


def batch_norm(x, norm, eps=1e-3):
    scale = norm.weight / torch.sqrt(norm.running_var + eps)
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def exact_gelu(x):
    return x * (1 + torch.erf(x / math.sqrt(2))) / 2


def silu(x):
    return x / (1 + torch.exp(-x))


class Words(NamedTuple):
    """What is said differently of different networks; the defaults are the official one's."""

    same: bool = True  # TensorFlow's padding
    conv_eps: float = 1e-3
    conv_act: object = gelu
    layer_eps: float = 1e-5
    mlp_act: object = gelu
    by_head: bool = False  # a head's queries, keys and values lie side by side


OFFICIAL = Words()
RW = Words(same=False, conv_eps=1e-5, conv_act=silu, layer_eps=1e-6, mlp_act=exact_gelu, by_head=True)


def layer_norm(x, norm, eps=1e-5):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + eps) * norm.weight + norm.bias


def mbconv(x, conv, stride, words=OFFICIAL):
    shortcut = x
    if stride == 2:
        shortcut = same_pool(x)
        if isinstance(conv.shortcut.expand, torch.nn.Conv2d):
            shortcut = F.conv2d(shortcut, conv.shortcut.expand.weight, conv.shortcut.expand.bias)
    act, eps = words.conv_act, words.conv_eps
    x = F.conv2d(batch_norm(x, conv.pre_norm, eps), conv.conv1_1x1.weight)
    x = act(batch_norm(x, conv.norm1, eps))
    groups = x.shape[1]
    if stride == 2 and words.same:
        x = same_conv(x, conv.conv2_kxk.weight, None, groups)
    else:
        x = F.conv2d(x, conv.conv2_kxk.weight, padding=1, stride=stride, groups=groups)
    x = act(batch_norm(x, conv.norm2, eps))
    squeezed = x.mean((2, 3), keepdim=True)
    squeezed = silu(F.conv2d(squeezed, conv.se.fc1.weight, conv.se.fc1.bias))
    squeezed = F.conv2d(squeezed, conv.se.fc2.weight, conv.se.fc2.bias)
    x = F.conv2d(x * torch.sigmoid(squeezed), conv.conv3_1x1.weight, conv.conv3_1x1.bias)
    return x + shortcut


def linear_weights(size, n):
    """(n, size) bilinear interpolation matrix with half-pixel centres, clamped at the ends."""
    matrix = np.zeros((n, size))
    for i in range(n):
        centre = min(max((i + 0.5) * size / n - 0.5, 0), size - 1)
        low = int(centre)
        matrix[i, low] += 1 - (centre - low)
        matrix[i, min(low + 1, size - 1)] += centre - low
    return matrix


def resized_table(table, window):
    """(h, rows, cols) to (h, 2 * Ph - 1, 2 * Pw - 1), one axis after the other."""
    for p in window:  # each turn moves the axis that it resizes to the end, so that two restore the order
        matrix = torch.as_tensor(linear_weights(table.shape[1], 2 * p - 1), dtype=table.dtype)
        table = torch.tensordot(table, matrix, dims=([1], [1]))
    return table


def window_tokens(h, w, window, grid):
    """For each window, its tokens as ((a, b), (row, column)), added positions left out."""
    (ph, pw), (sh, sw) = window, (-(-h // window[0]), -(-w // window[1]))
    for i in range(sh):
        for j in range(sw):
            places = [(a, b) for a in range(ph) for b in range(pw)]
            if grid:
                tokens = [((a, b), (i + a * sh, j + b * sw)) for a, b in places]
            else:
                tokens = [((a, b), (i * ph + a, j * pw + b)) for a, b in places]
            yield [t for t in tokens if t[1][0] < h and t[1][1] < w]


def positions(rel_pos, window):
    """Biases (h, 2 * Ph - 1, 2 * Pw - 1) by key - query, from the parameters of any of the three kinds."""
    (ph, pw), parameters = window, dict(rel_pos.named_parameters())
    table = parameters.get("relative_position_bias_table")
    if table is None:  # two layers, of the logarithms of query - key
        rows = []
        for a in range(ph - 1, -ph, -1):
            for b in range(pw - 1, -pw, -1):
                logs = [math.copysign(math.log(1 + abs(d)), d) for d in (a, b)]
                hidden = parameters["mlp.fc1.weight"] @ table_like(logs, parameters) + parameters["mlp.fc1.bias"]
                rows.append(parameters["mlp.fc2.weight"] @ hidden.clamp(min=0) + parameters["mlp.fc2.bias"])
        return torch.stack(rows, 1).view(-1, 2 * ph - 1, 2 * pw - 1)
    if table.dim() == 2:  # entry query - key, row after row
        side = math.isqrt(len(table))
        table = torch.stack([torch.stack([table[i * side + j] for j in range(side)], 1) for i in range(side)], 1)
        table = table[:, range(side - 1, -1, -1)][:, :, range(side - 1, -1, -1)]
    return resized_table(table, window)


def table_like(numbers, parameters):
    return torch.tensor(numbers, dtype=parameters["mlp.fc1.weight"].dtype)


def attend(qkv, table, window, grid, heads, by_head=False):
    """(B, H, W, 3C) -> (B, H, W, C); ``table`` as :func:`positions` gives it."""
    b, h, w, c = *qkv.shape[:3], qkv.shape[3] // 3
    extended = torch.full((b, -(-h // window[0]) * window[0], -(-w // window[1]) * window[1], 3 * c), torch.nan)
    extended = extended.to(qkv.dtype)
    extended[:, :h, :w] = qkv
    out = torch.full((b, h, w, c), torch.nan, dtype=qkv.dtype)
    for tokens in window_tokens(h, w, window, grid):
        place_a, place_b = (np.array([t[0][i] for t in tokens]) for i in (0, 1))
        rows, cols = ([t[1][i] for t in tokens] for i in (0, 1))
        offset_a = place_a[None, :] - place_a[:, None] + window[0] - 1  # key - query
        offset_b = place_b[None, :] - place_b[:, None] + window[1] - 1
        parts = extended[:, rows, cols]
        if by_head:
            q, k, v = parts.view(b, len(tokens), heads, 3, c // heads).permute(3, 0, 2, 1, 4)
        else:
            q, k, v = parts.view(b, len(tokens), 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c // heads) + table[:, offset_a, offset_b]
        out[:, rows, cols] = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, len(tokens), c)
    return out


def scaled(branch, factors):
    return branch * factors.gamma if hasattr(factors, "gamma") else branch


def partition_attention(x, layer, window, grid, words=OFFICIAL):
    """(B, H, W, C) -> (B, H, W, C), with the residuals."""
    attn = layer.attn
    qkv = layer_norm(x, layer.norm1, words.layer_eps) @ attn.qkv.weight.T + attn.qkv.bias
    out = attend(qkv, positions(attn.rel_pos, window), window, grid, x.shape[-1] // 32, words.by_head)
    x = x + scaled(out @ attn.proj.weight.T + attn.proj.bias, layer.ls1)
    hidden = layer_norm(x, layer.norm2, words.layer_eps) @ layer.mlp.fc1.weight.T + layer.mlp.fc1.bias
    return x + scaled(words.mlp_act(hidden) @ layer.mlp.fc2.weight.T + layer.mlp.fc2.bias, layer.ls2)


def stem(image, layer, words):
    conv1, conv2 = layer.conv1, layer.conv2
    if words.same:
        x = same_conv(image, conv1.weight, conv1.bias)
    else:
        x = F.conv2d(image, conv1.weight, conv1.bias, stride=2, padding=1)
    return F.conv2d(words.conv_act(batch_norm(x, layer.norm1, words.conv_eps)), conv2.weight, conv2.bias, padding=1)


def forward(net, image, window, words=OFFICIAL):
    """The five maps of an evaluation-mode network; ``window`` as the network's ``window_size``."""
    if window == "ratio":
        window = (-(-image.shape[2] // 32), -(-image.shape[3] // 32))
    window = (window, window) if isinstance(window, int) else window
    x = stem(image, net.stem, words)
    maps = [x]
    for stage in net.stages:
        for i, block in enumerate(stage.blocks):
            x = mbconv(x, block.conv, 2 if i == 0 else 1, words).permute(0, 2, 3, 1)
            x = partition_attention(x, block.attn_block, window, False, words)
            x = partition_attention(x, block.attn_grid, window, True, words).permute(0, 3, 1, 2)
        maps.append(x)
    return maps


def map_attention(x, block, stride, words):
    """A block of CoAtNet: one window that is the map; (B, C, H, W) in and out."""
    shortcut, norm = x, block.norm1.norm if stride == 2 else block.norm1
    x = layer_norm(x.permute(0, 2, 3, 1), norm, words.layer_eps).permute(0, 3, 1, 2)
    if stride == 2:
        x, shortcut = same_pool(x), same_pool(shortcut)
        if isinstance(block.shortcut.expand, torch.nn.Conv2d):
            shortcut = F.conv2d(shortcut, block.shortcut.expand.weight, block.shortcut.expand.bias)
    attn, window = block.attn, tuple(x.shape[2:])
    qkv = F.conv2d(x, attn.qkv.weight, attn.qkv.bias).permute(0, 2, 3, 1)
    biases = positions(attn.rel_pos, window)
    x = attend(qkv, biases, window, False, len(biases), words.by_head).permute(0, 3, 1, 2)
    x = shortcut + F.conv2d(x, attn.proj.weight, attn.proj.bias)
    hidden = layer_norm(x.permute(0, 2, 3, 1), block.norm2, words.layer_eps).permute(0, 3, 1, 2)
    hidden = words.mlp_act(F.conv2d(hidden, block.mlp.fc1.weight, block.mlp.fc1.bias))
    return x + F.conv2d(hidden, block.mlp.fc2.weight, block.mlp.fc2.bias)


def forward_coatnet(net, image, words=RW):
    """The five maps of a CoAtNet in evaluation mode, of those trainings that change MBConv no further."""
    x = stem(image, net.stem, words)
    maps = [x]
    for index, stage in enumerate(net.stages):
        for i, block in enumerate(stage.blocks):
            step = mbconv if index < 2 else map_attention
            x = step(x, block, 2 if i == 0 else 1, words)
        maps.append(x)
    return maps
