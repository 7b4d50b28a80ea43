"""Same weights, same output and gradients as timm's ``maxvit_*_tf_*``, where every map divides by the window."""

import pytest
import timm
import torch

import maxvit_dense  # noqa: F401  registers the timm names

SIZES = dict(tiny="t", small="s", base="b")
RESIDUAL_ENDS = ("conv3_1x1.weight", "attn.proj.weight", "mlp.fc2.weight")


def randomize(net, seed=0):
    """Statistics, affine parameters and tables away from their initial zeros and ones, so that each one shows.

    The last layer of each residual branch is made weak, as training leaves it: at initial strength the maps of the 24
    blocks of MaxViT-B reach 1e4 and timm's own float32 result is 5% off its float64 one.
    """
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("running_var") or "norm" in name and name.endswith("weight"):
            tensor.copy_(1 + 0.2 * noise.tanh())
        elif name.endswith(("running_mean", "bias", "bias_table")):
            tensor.copy_(0.1 * noise)
        elif name.endswith(RESIDUAL_ENDS):
            tensor.mul_(0.2)
    return net.eval()


def pair(timm_size, img_size):
    """timm's network and ours with its weights, loaded strictly; the way back is strict too."""
    reference = randomize(timm.create_model(f"maxvit_{timm_size}_tf_{img_size}"))
    ours = timm.create_model(f"maxvit_{SIZES[timm_size]}", img_size=img_size).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    reference.load_state_dict(ours.state_dict(), strict=True)
    return reference, ours


def assert_close(found, wanted, tolerance):
    """Within ``tolerance`` of the largest value: maps of random weights reach tens, and float32 sums with them."""
    scale = max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("img_size", [224, 384, 512])
@pytest.mark.parametrize("timm_size", SIZES)
def test_all_maps_and_logits_equal_timm(timm_size, img_size):
    reference, ours = pair(timm_size, img_size)
    images = torch.randn(1, 3, img_size, img_size)
    with torch.no_grad():
        last, wanted = reference.forward_intermediates(images)
        found = ours.forward_intermediates(images, intermediates_only=True)
        for a, b in zip(found, wanted, strict=True):
            assert_close(a, b, 1e-4)
        assert_close(ours.forward_head(found[-1]), reference.forward_head(last), 1e-4)


@pytest.mark.parametrize(("timm_size", "img_size"), [("tiny", 224), ("tiny", 384), ("small", 224), ("base", 224)])
def test_every_parameter_gradient_equals_timm(timm_size, img_size):
    reference, ours = pair(timm_size, img_size)
    images = torch.randn(2 if timm_size == "tiny" else 1, 3, img_size, img_size)
    seed = torch.randn(images.shape[0], 1000)
    for net in (reference, ours):
        (net(images) * seed).sum().backward()
    wanted = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        error = (parameter.grad - wanted[name].grad).norm() / wanted[name].grad.norm().clamp_min(1e-6)
        assert error <= 1e-3, f"{name}: relative error {error:.2e}"


def test_timm_at_another_size_with_window_7_is_the_same_function():
    reference, ours = pair("tiny", 224)
    if not hasattr(reference, "set_input_size"):
        pytest.skip("needs a timm whose MaxViT can change its window")
    reference.set_input_size((448, 672), window_size=(7, 7), grid_size=(7, 7))
    images = torch.randn(1, 3, 448, 672)
    with torch.no_grad():
        for a, b in zip(
            ours.forward_intermediates(images, intermediates_only=True),
            reference.forward_intermediates(images, intermediates_only=True),
            strict=True,
        ):
            assert_close(a, b, 1e-4)


def test_training_mode_equals_timm_up_to_the_momentum():
    reference, ours = pair("tiny", 224)
    images = torch.randn(4, 3, 224, 224)
    before = reference.stem.norm1.running_mean.clone()
    with torch.no_grad():
        assert_close(ours.train()(images), reference.train()(images), 1e-4)
    # TensorFlow's momentum 0.99 is 0.01 in PyTorch; timm's networks have PyTorch's default, 0.1.
    steps = [(net.stem.norm1.running_mean - before) for net in (ours, reference)]
    torch.testing.assert_close(steps[0] * 10, steps[1], rtol=1e-4, atol=1e-5)
