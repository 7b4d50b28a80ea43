"""The Triton kernels against the plain path, output and every gradient, on a GPU or in Triton's interpreter.

The interpreter must be chosen before triton is first imported, so without a GPU one test runs this file again in a
process of its own, where TRITON_INTERPRET=1; the tests that launch kernels skip in the outer one.
"""

import os
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch._dynamo.testing
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from maxvit_dense import ops
from maxvit_dense.attention import WindowAttention
from maxvit_dense.errors import InputError
from maxvit_dense.maxvit import MaxViT
from maxvit_dense.ops import partition_attention
from maxvit_dense.partition import make_partition
from maxvit_dense.rel_pos import fit_bias_table
from maxvit_dense.styles import MaxViTConfig
from tests.networks import fill_with_noise, relative_difference

HAS_GPU = torch.cuda.is_available()
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
DEVICE = torch.device("cuda" if HAS_GPU else "cpu")
ROOT = Path(__file__).resolve().parent.parent

PARTS = ("query", "key", "value")

launches_kernels = pytest.mark.skipif(
    not (HAS_GPU or INTERPRETED), reason="needs a CUDA device or TRITON_INTERPRET=1; run by the interpreter's test"
)
# Rounded operands: weights and outputs are off by half a unit in the last place (2**-12, 2**-9) each, and gradients
# go through three roundings of that kind; relative to the largest value. float32 sums in another order.
TOLERANCE = {torch.float32: 3e-6, torch.float16: 3e-3, torch.bfloat16: 2.5e-2}


def draw(batch, height, width, heads=1, head_size=32, table=(13, 13), dtype=torch.float32, seed=0):
    """A random map of queries, keys and values, and a table whose bias matters."""
    generator = torch.Generator().manual_seed(seed)
    qkv = torch.randn(batch, height, width, 3 * heads * head_size, generator=generator)
    bias = torch.randn(heads, *table, generator=generator)
    return qkv.to(DEVICE, dtype), bias.to(DEVICE)


def attend(backend, qkv, table, window, grid):
    """(output, gradient of qkv, gradient of the table) of one backend."""
    qkv, table = qkv.detach().requires_grad_(), table.detach().requires_grad_()
    partition = make_partition(qkv.shape[1], qkv.shape[2], window, grid, DEVICE)
    out = partition_attention(qkv, fit_bias_table(table, window), partition, table.shape[0], backend=backend)
    ramp = torch.linspace(-1, 1, out.numel(), device=DEVICE).view(out.shape)
    return out, *torch.autograd.grad(out, (qkv, table), (3 * ramp).sin().to(out.dtype))


def assert_equals_the_plain_path(qkv, table, window, grid):
    found = attend("triton", qkv, table, window, grid)
    wanted = attend("plain", qkv.float(), table, window, grid)
    assert found[0].dtype == qkv.dtype and found[0].is_contiguous()
    for name, ours, theirs in zip(("output", "qkv", "table"), found, wanted, strict=True):
        assert relative_difference(ours.float(), theirs) < TOLERANCE[qkv.dtype], name


@pytest.mark.skipif(HAS_GPU or INTERPRETED, reason="the kernels run in this process")
def test_all_kernels_in_tritons_interpreter():
    pytest.importorskip("triton")
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "--no-header", "-p", "no:cacheprovider", __file__]
    variables = {**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout[-6000:]
    assert " passed" in run.stdout


@launches_kernels
@pytest.mark.parametrize("grid", [False, True])
@pytest.mark.parametrize(
    "batch, height, width, window",
    [
        (2, 7, 7, (7, 7)),
        (1, 14, 7, (7, 7)),
        (1, 5, 25, (7, 7)),
        (2, 5, 7, (4, 3)),
        (1, 3, 2, (5, 6)),  # the window is larger than the map
        (1, 4, 3, (1, 1)),
        (1, 8, 9, (8, 8)),  # exactly one block of slots
        (1, 9, 10, (9, 9)),  # two blocks of slots
        (1, 12, 3, (12, 12)),  # three, of which most slots are outside
    ],
)
def test_any_map_and_window(batch, height, width, window, grid):
    heads = 2 if batch == 1 and window[0] * window[1] <= 64 else 1
    assert_equals_the_plain_path(*draw(batch, height, width, heads), window, grid)


@launches_kernels
def test_a_long_window_of_several_heads_in_turns(monkeypatch):
    from maxvit_dense.ops import triton_backward, triton_tiles

    # Few programs: heads take turns, and several windows share a program.
    monkeypatch.setattr(triton_backward, "PROGRAMS", 4)
    monkeypatch.setattr(triton_tiles, "PROGRAMS", 4)
    assert_equals_the_plain_path(*draw(2, 13, 9, heads=2, head_size=16), (13, 5), True)


@launches_kernels
def test_programs_that_serve_several_windows(monkeypatch):
    from maxvit_dense.ops import triton_tiles

    monkeypatch.setattr(triton_tiles, "PROGRAMS", 6)
    assert_equals_the_plain_path(*draw(2, 7, 9, heads=2, head_size=16), (3, 3), False)


@launches_kernels
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("window", [(7, 7), (10, 7)])
def test_low_precision_stays_near_float32(window, dtype):
    assert_equals_the_plain_path(*draw(1, 8, 11, dtype=dtype), window, False)


@launches_kernels
@pytest.mark.parametrize("head_size", [16, 64, 128])
def test_other_head_sizes(head_size):
    assert_equals_the_plain_path(*draw(1, 5, 6, head_size=head_size), (4, 4), True)


@launches_kernels
@pytest.mark.parametrize("table_dtype", [torch.float32, torch.float16, torch.float64])
def test_a_table_of_another_size_and_dtype(table_dtype):
    qkv, table = draw(1, 6, 7, table=(9, 7))
    found = attend("triton", qkv, table.to(table_dtype), (4, 5), False)
    wanted = attend("plain", qkv, table.to(table_dtype), (4, 5), False)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        # Gradients of the table are rounded to its own dtype.
        tolerance = TOLERANCE[torch.float16 if table_dtype == torch.float16 else torch.float32]
        assert relative_difference(ours.float(), theirs.float()) < tolerance


@launches_kernels
@pytest.mark.parametrize("seed", range(5))
def test_random_shapes(seed):
    chance = random.Random(seed)
    window = (chance.randint(1, 9), chance.randint(1, 9))
    height, width = (chance.randint(1, 2 * side) for side in window)
    table = (2 * window[0] - 1, 2 * window[1] - 1)
    qkv, bias = draw(chance.randint(1, 2), height, width, chance.choice((1, 2)), 16, table, seed=seed)
    assert_equals_the_plain_path(qkv, bias, window, chance.random() < 0.5)


@launches_kernels
def test_maps_of_any_strides():
    qkv, table = draw(2, 6, 5)
    apart = torch.empty(2, 96, 6, 10, device=DEVICE)[..., ::2].permute(0, 2, 3, 1).copy_(qkv)
    assert not apart.is_contiguous()
    assert_equals_the_plain_path(apart, table, (4, 4), True)


@launches_kernels
def test_an_empty_batch():
    out, dqkv, dtable = attend("triton", *draw(0, 5, 6), (4, 4), True)
    assert out.shape == (0, 5, 6, 32) and dqkv.shape == (0, 5, 6, 96)
    assert torch.equal(dtable, torch.zeros_like(dtable))


@launches_kernels
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero|overflow):RuntimeWarning")
@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")
@pytest.mark.parametrize(
    "window, bad, part",
    [((2, 3), bad, part) for bad in ("inf", "-inf", "nan") for part in PARTS]
    + [((11, 6), "-inf", "query"), ((11, 6), "nan", "key"), ((11, 6), "inf", "value")],
)
def test_infinity_and_nan_reach_what_they_reach_in_the_plain_path(window, bad, part):
    qkv, table = draw(1, window[0], window[1] + 1, heads=2, head_size=16)
    qkv[0, 1, 2, 32 * PARTS.index(part) + 3] = float(bad)
    for ours, theirs in zip(
        attend("triton", qkv, table, window, False), attend("plain", qkv, table, window, False), strict=True
    ):
        assert not theirs.isfinite().all() or part == "query"
        assert theirs.isfinite().any()
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, equal_nan=True)


@launches_kernels
@pytest.mark.filterwarnings("ignore:(invalid value|divide by zero):RuntimeWarning")
def test_a_query_whose_scores_are_all_minus_infinity_gets_nothing():
    qkv, table = draw(1, 2, 2)
    qkv[0, 0, 0, 0] = float("inf")
    qkv[..., 32] = -1
    out, _, dtable = attend("triton", qkv, table, (2, 2), False)
    assert torch.equal(out[0, 0, 0], torch.zeros(32, device=DEVICE))
    assert out.isfinite().all() and dtable.isfinite().all()


@launches_kernels
def test_gradients_are_the_same_in_every_run():
    qkv, table = draw(2, 9, 8, dtype=torch.bfloat16)
    for ours, again in zip(*(attend("triton", qkv, table, (7, 7), True) for _ in range(2)), strict=True):
        assert torch.equal(ours, again)


@launches_kernels
def test_pytorchs_checks_of_an_operator():
    from maxvit_dense.ops import triton_op  # noqa: F401, registers it

    qkv, table = draw(1, 5, 3, table=(7, 5))
    arguments = (qkv.requires_grad_(), table.requires_grad_(), (4, 3), True, 1)
    checks = torch.library.opcheck(torch.ops.maxvit_dense.partition_attention.default, arguments)
    assert set(checks.values()) == {"SUCCESS"}


@launches_kernels
def test_operations_are_counted():
    qkv, table = draw(1, 5, 3, table=(7, 5))  # two windows of twelve slots
    attend("triton", qkv, table, (4, 3), False)  # a counter knows the operators of the time when it was made
    with FlopCounterMode(display=False) as counter:
        attend("triton", qkv, table, (4, 3), False)
    product = 2 * 2 * 12 * 12 * 32
    assert counter.get_total_flops() == (2 + 5) * product


@pytest.fixture
def layer():
    return fill_with_noise(WindowAttention(32, (4, 4))).to(DEVICE)


def layer_gradients(layer, run, height=6, width=5):
    """Output of a layer and the gradients of its parameters, run in the way given."""
    x = torch.randn(1, height, width, 32, generator=torch.Generator().manual_seed(2)).to(DEVICE).requires_grad_()
    partition = make_partition(height, width, (4, 4), True, DEVICE)
    out = run(x, partition)
    return out, *torch.autograd.grad(out.float().square().sum(), (x, *layer.parameters()))


@pytest.fixture
def triton_by_name():
    ops.set_backend("triton")
    yield
    ops.set_backend(None)


@launches_kernels
def test_checkpointing_gives_the_same_gradients(layer, triton_by_name):
    stored = layer_gradients(layer, layer)
    again = layer_gradients(layer, lambda *x: checkpoint(layer, *x, use_reentrant=False))
    for ours, theirs in zip(again, stored, strict=True):
        assert torch.equal(ours, theirs)


@launches_kernels
def test_autocast_attends_in_its_precision(layer, triton_by_name):
    def run(x, partition):
        with torch.autocast(DEVICE.type, torch.bfloat16):
            return layer(x, partition)

    found = layer_gradients(layer, run)
    ops.set_backend("plain")
    wanted = layer_gradients(layer, run)
    for ours, theirs in zip(found, wanted, strict=True):
        assert ours.dtype == theirs.dtype
        assert relative_difference(ours.float(), theirs.float()) < TOLERANCE[torch.bfloat16]


@launches_kernels
def test_compiling_once_serves_every_size(layer, triton_by_name):
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(layer, backend=counter, fullgraph=True, dynamic=True)
    for height, width in ((6, 5), (9, 4), (11, 13)):
        eager = layer_gradients(layer, layer, height, width)
        for ours, theirs in zip(layer_gradients(layer, compiled, height, width), eager, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert counter.frame_count == 1


@launches_kernels
def test_a_network_gives_the_same_maps_and_gradients_by_name():
    config = MaxViTConfig(stem_dim=8, dims=(32, 32, 32, 32), depths=(1, 1, 1, 1))
    net = fill_with_noise(MaxViT(config, num_classes=3)).to(DEVICE).eval()
    image = torch.randn(1, 3, 29, 34, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    results = []
    for backend in ("triton", "plain"):
        ops.set_backend(backend)
        try:
            logits = net(image)
        finally:
            ops.set_backend(None)
        results.append((logits, *torch.autograd.grad(logits.square().sum(), net.parameters())))
    for ours, theirs in zip(*results, strict=True):
        assert relative_difference(ours, theirs) < 1e-4


def test_kernels_compile_for_a_gpu_that_is_not_here():
    """What the interpreter is indifferent to: types, shapes that are powers of two, and shared memory."""
    triton = pytest.importorskip("triton")
    if INTERPRETED:
        pytest.skip("the interpreter compiles nothing")
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from maxvit_dense.ops import triton_backward, triton_forward

    values = {"HEADS": 2, "D": 32, "BLOCK": 64, "GRID": True, "ONE_BLOCK": False, "UPCAST": False}
    kinds = dict.fromkeys(("qkv", "out", "dout", "dqkv"), "*bf16") | {"scale": "fp32"}
    kinds |= dict.fromkeys(("table", "log_sum", "delta", "dbias"), "*fp32")
    for kernel in (triton_forward.forward_kernel, triton_backward.short_kernel, triton_backward.bias_kernel):
        constants = {name: values[name] for name in kernel.arg_names if name in values}
        signature = {name: "constexpr" if name in constants else kinds.get(name, "i32") for name in kernel.arg_names}
        compiled = triton.compile(ASTSource(kernel, signature, constants), target=GPUTarget("cuda", 80, 32))
        assert "mma.sync" in compiled.asm["ptx"]  # tensor cores
        assert compiled.metadata.shared <= 48 * 1024  # three programs a multiprocessor even on the smaller GPUs


@pytest.mark.skipif(INTERPRETED, reason="the interpreter runs on any device")
def test_a_kernel_asked_for_by_name_fails_with_the_reason():
    partition = make_partition(2, 2, (2, 2), False, torch.device("cpu"))
    with pytest.raises(InputError, match="'triton' was asked for but cannot run: .*(the map is on cpu|not installed)"):
        partition_attention(torch.zeros(1, 2, 2, 96), torch.zeros(1, 3, 3), partition, 1, backend="triton")


@pytest.mark.parametrize(
    "qkv, heads, reason",
    [
        (torch.zeros(1, 1, 1, 96, dtype=torch.double), 1, "float64"),
        (torch.zeros(1, 1, 1, 72), 1, "head size is 24"),
        (torch.zeros(1, 1, 1, 24), 1, "head size is 8"),
        (torch.zeros(1, 1, 1, 1).expand(1, 2**15, 2**15, 96), 1, "2\\*\\*31"),
    ],
)
def test_reasons_name_the_value_that_does_not_fit(qkv, heads, reason, monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: object())
    assert re.search(reason, ops.why_not_triton(qkv, heads))


def test_a_triton_without_knobs_is_a_reason(monkeypatch):
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None if package == "triton.knobs" else object())
    assert "PyTorch 2.8" in ops.why_not_triton(torch.zeros(1, 1, 1, 96), 1)


def test_a_missing_triton_is_a_reason(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda package: None)
    assert "not installed" in ops.why_not_triton(torch.zeros(1, 1, 1, 96), 1)


def test_an_unknown_backend_is_refused_with_the_known_ones():
    with pytest.raises(InputError, match="no attention backend 'cuda'; there are plain, triton"):
        ops.set_backend("cuda")


@pytest.mark.skipif(INTERPRETED, reason="no kernel takes part")
def test_the_environment_names_the_backend():
    code = """
import torch
from maxvit_dense.attention import WindowAttention
from maxvit_dense.partition_cache import find_partitions
x = torch.zeros(1, 2, 2, 32)
WindowAttention(32, (2, 2))(x, find_partitions(x, 2, 2, (2, 2))[0])
"""
    variables = {**os.environ, "MAXVIT_DENSE_ATTENTION": "triton"}
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=variables, capture_output=True, text=True)
    assert "the attention backend 'triton' was asked for but cannot run" in run.stderr
