"""Decoders of segmentation_models_pytorch, which builds its encoders by timm."""

import pytest
import torch

smp = pytest.importorskip(
    "segmentation_models_pytorch", reason="needs segmentation_models_pytorch (requirements/clients.txt)"
)

import maxvit_dense  # noqa: E402, F401  registers the timm names

DECODERS = ["Unet", "UnetPlusPlus", "FPN", "UPerNet", "MAnet", "Linknet", "PSPNet", "Segformer"]


@pytest.mark.parametrize("name", DECODERS)
def test_decoder_trains(name):
    model = getattr(smp, name)("tu-maxvit_mini", encoder_weights=None, classes=4).train()
    masks = model(torch.randn(2, 3, 96, 128))
    assert masks.shape == (2, 4, 96, 128)
    masks.square().mean().backward()
    assert model.encoder.model.model.stem.conv1.weight.grad.abs().max() > 0


def test_a_dpt_trains_at_any_size():
    model = smp.DPT("tu-maxvit_mini", encoder_weights=None, classes=3, decoder_readout="ignore").train()
    masks = model(torch.randn(2, 3, 96, 128))
    assert masks.shape == (2, 3, 96, 128)
    masks.square().mean().backward()
    assert model.encoder.model.stages[0].blocks[0].conv.conv1_1x1.weight.grad.abs().max() > 0


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_a_unet_can_be_scripted():
    model = smp.Unet("tu-maxvit_mini", encoder_weights=None, classes=2).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(model)(x), model(x), rtol=1e-4, atol=1e-4)
