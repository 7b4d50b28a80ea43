"""Same weights, same output and gradients as timm's networks, where every map divides by the window."""

import pytest
import timm
import torch

import maxvit_dense  # noqa: F401  registers the timm names

# Our name, timm's, image size.
OFFICIAL = [
    (f"maxvit_{ours}", f"maxvit_{theirs}_tf_{side}", side)
    for ours, theirs in dict(t="tiny", s="small", b="base").items()
    for side in (224, 384, 512)
]
RW = [
    ("maxvit_pico", "maxvit_rmlp_pico_rw_256", 256),
    ("maxvit_nano", "maxvit_rmlp_nano_rw_256", 256),
    ("maxvit_nano.rw_256", "maxvit_nano_rw_256", 256),
    ("maxvit_tiny", "maxvit_rmlp_tiny_rw_256", 256),
    ("maxvit_tiny.rw_224", "maxvit_tiny_rw_224", 224),
    ("maxvit_small", "maxvit_rmlp_small_rw_224", 224),
    ("maxvit_small", "maxvit_rmlp_small_rw_256", 256),
    ("maxvit_base", "maxvit_rmlp_base_rw_224", 224),
    ("maxvit_base", "maxvit_rmlp_base_rw_384", 384),
]
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


def pair(ours_name, theirs_name, img_size):
    """timm's network and ours with its weights, loaded strictly; the way back is strict too."""
    reference = randomize(timm.create_model(theirs_name))
    ours = timm.create_model(ours_name, img_size=img_size).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    reference.load_state_dict(ours.state_dict(), strict=True)
    return reference, ours


def assert_close(found, wanted, tolerance):
    """Within ``tolerance`` of the largest value: maps of random weights reach tens, and float32 sums with them."""
    scale = max(1.0, wanted.abs().max().item())
    torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance * scale)


@pytest.mark.parametrize("names", OFFICIAL + RW, ids=str)
def test_all_maps_and_logits_equal_timm(names):
    reference, ours = pair(*names)
    images = torch.randn(1, 3, names[2], names[2])
    with torch.no_grad():
        last, wanted = reference.forward_intermediates(images)
        final, found = ours.forward_intermediates(images)
        for a, b in zip([final, *found], [last, *wanted], strict=True):
            assert_close(a, b, 1e-4 if names in OFFICIAL else 1e-5)
        assert_close(ours.forward_head(final), reference.forward_head(last), 1e-5)
        normed = [net.forward_intermediates(images, [4], norm=True)[1][0] for net in (ours, reference)]
        assert_close(*normed, 1e-4 if names in OFFICIAL else 1e-5)


@pytest.mark.parametrize("names", [*(n for n in OFFICIAL if n[2] == 224 or "tiny_tf_384" in n[1]), *RW], ids=str)
def test_every_parameter_gradient_equals_timm(names):
    reference, ours = pair(*names)
    images = torch.randn(1 if "base" in names[1] else 2, 3, names[2], names[2])
    seed = torch.randn(images.shape[0], 1000)
    for net in (reference, ours):
        (net(images) * seed).sum().backward()
    wanted = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        scale = wanted[name].grad.norm().clamp_min(1e-6)
        if name.endswith("rel_pos.mlp.fc2.bias"):  # 0 but for rounding: softmax ignores what is added to all scores
            scale = wanted[name.replace("bias", "weight")].grad.norm()
        error = (parameter.grad - wanted[name].grad).norm() / scale
        assert error <= 1e-3, f"{name}: relative error {error:.2e}"


def test_timm_at_another_size_with_window_7_is_the_same_function():
    reference, ours = pair("maxvit_t", "maxvit_tiny_tf_224", 224)
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
    reference, ours = pair("maxvit_t", "maxvit_tiny_tf_224", 224)
    images = torch.randn(4, 3, 224, 224)
    before = reference.stem.norm1.running_mean.clone()
    with torch.no_grad():
        assert_close(ours.train()(images), reference.train()(images), 1e-4)
    # TensorFlow's momentum 0.99 is 0.01 in PyTorch; timm's networks have PyTorch's default, 0.1.
    steps = [(net.stem.norm1.running_mean - before) for net in (ours, reference)]
    torch.testing.assert_close(steps[0] * 10, steps[1], rtol=1e-4, atol=1e-5)


def test_a_position_mlp_is_the_same_function_at_every_window_as_in_timm():
    reference, ours = pair("maxvit_pico", "maxvit_rmlp_pico_rw_256", 256)
    if not hasattr(reference, "set_input_size"):
        pytest.skip("needs a timm whose MaxViT can change its window")
    reference.set_input_size((160, 320))
    ours.set_input_size((160, 320))
    images = torch.randn(1, 3, 160, 320)
    with torch.no_grad():
        assert_close(ours(images), reference(images), 1e-5)
