"""MaxViT's forward pass written out from its rules, slowly: one Python loop a window, nothing shared with the package.

Only the parameters of a network of the package are read. Where a map is extended, the added positions hold NaN, and
never take part: every window is computed from its real tokens alone.
"""

import math

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


def batch_norm(x, norm):
    scale = norm.weight / torch.sqrt(norm.running_var + 1e-3)
    return (x - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def gelu(x):
    return 0.5 * x * (1 + torch.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def layer_norm(x, norm):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + 1e-5) * norm.weight + norm.bias


def mbconv(x, conv, stride):
    shortcut = x
    if stride == 2:
        shortcut = same_pool(x)
        if isinstance(conv.shortcut.expand, torch.nn.Conv2d):
            shortcut = F.conv2d(shortcut, conv.shortcut.expand.weight, conv.shortcut.expand.bias)
    x = F.conv2d(batch_norm(x, conv.pre_norm), conv.conv1_1x1.weight)
    x = gelu(batch_norm(x, conv.norm1))
    groups = x.shape[1]
    if stride == 2:
        x = same_conv(x, conv.conv2_kxk.weight, None, groups)
    else:
        x = F.conv2d(x, conv.conv2_kxk.weight, padding=1, groups=groups)
    x = gelu(batch_norm(x, conv.norm2))
    squeezed = x.mean((2, 3), keepdim=True)
    squeezed = F.conv2d(squeezed, conv.se.fc1.weight, conv.se.fc1.bias)
    squeezed = F.conv2d(squeezed * torch.sigmoid(squeezed), conv.se.fc2.weight, conv.se.fc2.bias)
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


def attend(qkv, table, window, grid, heads):
    """(B, H, W, 3C) -> (B, H, W, C)."""
    b, h, w, c = *qkv.shape[:3], qkv.shape[3] // 3
    table = resized_table(table, window)
    extended = torch.full((b, -(-h // window[0]) * window[0], -(-w // window[1]) * window[1], 3 * c), torch.nan)
    extended = extended.to(qkv.dtype)
    extended[:, :h, :w] = qkv
    out = torch.full((b, h, w, c), torch.nan, dtype=qkv.dtype)
    for tokens in window_tokens(h, w, window, grid):
        place_a, place_b = (np.array([t[0][i] for t in tokens]) for i in (0, 1))
        rows, cols = ([t[1][i] for t in tokens] for i in (0, 1))
        offset_a = place_a[None, :] - place_a[:, None] + window[0] - 1  # key - query
        offset_b = place_b[None, :] - place_b[:, None] + window[1] - 1
        q, k, v = extended[:, rows, cols].view(b, len(tokens), 3, heads, c // heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) / math.sqrt(c // heads) + table[:, offset_a, offset_b]
        out[:, rows, cols] = (scores.softmax(-1) @ v).transpose(1, 2).reshape(b, len(tokens), c)
    return out


def partition_attention(x, layer, window, grid):
    """(B, H, W, C) -> (B, H, W, C), with the residuals."""
    attn = layer.attn
    qkv = layer_norm(x, layer.norm1) @ attn.qkv.weight.T + attn.qkv.bias
    out = attend(qkv, attn.rel_pos.relative_position_bias_table, window, grid, x.shape[-1] // 32)
    x = x + out @ attn.proj.weight.T + attn.proj.bias
    hidden = gelu(layer_norm(x, layer.norm2) @ layer.mlp.fc1.weight.T + layer.mlp.fc1.bias)
    return x + hidden @ layer.mlp.fc2.weight.T + layer.mlp.fc2.bias


def forward(net, image, window):
    """The five maps of an evaluation-mode network; ``window`` as the network's ``window_size``."""
    if window == "ratio":
        window = (-(-image.shape[2] // 32), -(-image.shape[3] // 32))
    window = (window, window) if isinstance(window, int) else window
    stem = net.stem
    x = gelu(batch_norm(same_conv(image, stem.conv1.weight, stem.conv1.bias), stem.norm1))
    x = F.conv2d(x, stem.conv2.weight, stem.conv2.bias, padding=1)
    maps = [x]
    for stage in net.stages:
        for i, block in enumerate(stage.blocks):
            x = mbconv(x, block.conv, 2 if i == 0 else 1).permute(0, 2, 3, 1)
            x = partition_attention(x, block.attn_block, window, grid=False)
            x = partition_attention(x, block.attn_grid, window, grid=True).permute(0, 3, 1, 2)
        maps.append(x)
    return maps
