"""Function transforms on the whole network, in evaluation mode as for any network with BatchNorm."""

import pytest
import timm
import torch
import torch.autograd.forward_ad as forward_ad
from torch.func import functional_call, grad, jvp, vmap

import maxvit_dense  # noqa: F401  registers the timm names
from tests.networks import fill_with_noise, largest_difference, relative_difference

pytestmark = pytest.mark.filterwarnings("ignore:.*batching rule for aten..unfold_backward:UserWarning")


@pytest.fixture(scope="module")
def network():
    return fill_with_noise(timm.create_model("maxvit_mini", num_classes=3)).double().eval()


@pytest.fixture
def images():
    return torch.randn(3, 3, 64, 90, dtype=torch.double)  # masks windows at the edge


def test_vmap_gives_what_a_loop_gives(network, images):
    with torch.no_grad():
        ours = vmap(lambda image: network(image[None])[0])(images)
        assert relative_difference(ours, network(images)) < 1e-10


def test_gradients_of_single_images(network, images):
    parameters, buffers = dict(network.named_parameters()), dict(network.named_buffers())

    def loss(parameters, image):
        return functional_call(network, (parameters, buffers), (image[None],)).square().sum()

    ours = vmap(grad(loss), in_dims=(None, 0))(parameters, images)
    for i in range(len(images)):
        theirs = torch.autograd.grad(network(images[i : i + 1]).square().sum(), list(parameters.values()))
        for found, expected in zip(ours.values(), theirs, strict=True):
            torch.testing.assert_close(found[i], expected, rtol=1e-7, atol=1e-9)


def test_forward_mode_agrees_with_finite_differences(network, images):
    direction, step = torch.randn_like(images), 1e-5
    with torch.no_grad():
        difference = (network(images + step * direction) - network(images - step * direction)) / (2 * step)
        tangent = jvp(network, (images,), (direction,))[1]
        with forward_ad.dual_level():
            dual = forward_ad.unpack_dual(network(forward_ad.make_dual(images, direction))).tangent
    assert relative_difference(tangent, difference) < 1e-6
    assert largest_difference(tangent, dual) < 1e-10


def test_batched_gradients(network, images):
    images.requires_grad_()
    logits = network(images)
    weights = torch.randn(4, *logits.shape, dtype=torch.double)
    (together,) = torch.autograd.grad(logits, images, weights, is_grads_batched=True, retain_graph=True)
    for weight, found in zip(weights, together, strict=True):
        (alone,) = torch.autograd.grad(logits, images, weight, retain_graph=True)
        assert relative_difference(found, alone) < 1e-10
