"""What timm offers beside its networks: averaged weights, optimizers with layer-wise rates, folders for its hub."""

import pytest
import timm
import torch
from timm.models._hub import save_for_hf
from timm.optim import create_optimizer_v2
from timm.utils import ModelEmaV3

import maxvit_dense  # noqa: F401  registers the timm names


@pytest.fixture(params=[False, True], ids=["classifier", "features_only"])
def network(request):
    kwargs = dict(features_only=True) if request.param else dict(num_classes=3)
    return timm.create_model("maxvit_mini", **kwargs)


def test_averaged_weights_follow_the_trained_ones(network):
    average = ModelEmaV3(network, decay=0.75)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    with torch.no_grad():
        for p in network.parameters():
            p.add_(1.0)
    average.update(network)
    for name, p in average.module.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] + 0.25)


def test_rates_fall_towards_the_stem(network):
    optimizer = create_optimizer_v2(network, "adamw", lr=1.0, weight_decay=0.1, layer_decay=0.5)
    names = {p: name for name, p in network.named_parameters()}
    scales, decays = {}, {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            scales[names[p]], decays[names[p]] = group["lr_scale"], group["weight_decay"]
    assert set(scales) == set(names.values())
    first = next(scale for name, scale in scales.items() if "stem" in name)
    last = next(scale for name, scale in scales.items() if "stages.3" in name)
    assert first < last
    assert {decays[name] for name in decays if name.endswith("relative_position_bias_table")} == {0.0}


def test_a_folder_saved_for_the_hub_makes_the_network_again(tmp_path):
    network = timm.create_model("maxvit_mini", num_classes=3).eval()
    save_for_hf(network, tmp_path, model_args=dict(num_classes=3))
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    x = torch.randn(1, 3, 70, 50)
    assert torch.equal(loaded(x), network(x))
