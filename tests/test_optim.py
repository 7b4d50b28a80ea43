"""Which parameter decays and how fast it learns."""

import pytest
import torch
from torch import nn

pytest.importorskip("mmengine", reason="needs mmengine (pip install maxvit_dense[openmmlab])")

from mmengine.optim import build_optim_wrapper  # noqa: E402

from maxvit_dense.openmmlab import MaxViT  # noqa: E402

LR, DECAY = 1e-3, 0.05


class Detector(nn.Module):
    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))


def wrapper_of(model, **paramwise):
    return build_optim_wrapper(
        model,
        dict(
            type="OptimWrapper",
            optimizer=dict(type="AdamW", lr=LR, weight_decay=DECAY),
            constructor="LayerDecayOptimWrapperConstructor",
            paramwise_cfg=paramwise,
        ),
    )


def groups_of(model, **paramwise):
    """The group of each parameter, by its name."""
    wrapper = wrapper_of(model, **paramwise)
    names = {id(p): name for name, p in model.named_parameters()}
    return {names[id(p)]: group for group in wrapper.optimizer.param_groups for p in group["params"]}


@pytest.fixture
def detector():
    return Detector(MaxViT(arch="mini"))


def test_without_a_rate_every_parameter_learns_alike(detector):
    groups = groups_of(detector)
    assert {g["lr"] for g in groups.values()} == {LR}
    assert len(groups) == len(list(detector.parameters()))


def test_parameters_of_equal_settings_share_a_group(detector):
    rules = dict(norm_decay_mult=0.0, bias_decay_mult=0.0)
    groups = wrapper_of(detector, **rules).optimizer.param_groups
    assert sorted(group["weight_decay"] for group in groups) == [0.0, DECAY]
    assert sum(len(group["params"]) for group in groups) == len(list(detector.parameters()))
    layers = wrapper_of(detector, layer_decay_rate=0.5, **rules).optimizer.param_groups
    settings = [(group["lr"], group["weight_decay"]) for group in layers]
    assert len(settings) == len(set(settings)) == 2 * 7  # the head and the backbone's six layers


def test_rates_fall_by_one_factor_a_block_down_to_the_stem(detector):
    groups = groups_of(detector, layer_decay_rate=0.5)
    # mini: the stem, then 1 + 1 + 2 + 1 blocks, so six layers
    expected = {"head.0.": 1, "net.stages.3.blocks.0.": 1 / 2, "net.stages.2.blocks.1.": 1 / 4}
    expected |= {"net.stages.2.blocks.0.": 1 / 8, "net.stages.1.blocks.0.": 1 / 16, "net.stem.": 1 / 64}
    for part, factor in expected.items():
        rates = {g["lr"] for name, g in groups.items() if part in name}
        assert max(rates) == min(rates) == pytest.approx(LR * factor), part


def test_the_configs_rules_leave_norms_biases_and_bias_tables_undecayed(detector):
    from mmengine.config import Config

    paramwise = Config.fromfile("configs/maskrcnn_maxvit_t_coco.py").optim_wrapper.paramwise_cfg
    groups = groups_of(detector, **paramwise)
    for name, group in groups.items():
        parameter = detector.get_parameter(name)
        is_matrix = parameter.dim() > 1 and not name.endswith("relative_position_bias_table")
        assert group["weight_decay"] == (DECAY if is_matrix else 0.0), name
    assert any(name.endswith("relative_position_bias_table") for name in groups)


def test_a_slower_backbone_keeps_its_norms_and_biases_undecayed(detector):
    groups = groups_of(detector, backbone_lr_mult=0.1, norm_decay_mult=0.0, bias_decay_mult=0.0)
    for name, group in groups.items():
        assert group["lr"] == pytest.approx(LR * 0.1 if name.startswith("backbone.") else LR), name
        if detector.get_parameter(name).dim() == 1:
            assert group["weight_decay"] == 0.0, name


def test_a_slower_backbone_multiplies_with_layer_decay(detector):
    groups = groups_of(detector, layer_decay_rate=0.5, backbone_lr_mult=0.1)
    rates = {name: group["lr"] for name, group in groups.items()}
    last_block = [rate for name, rate in rates.items() if "net.stages.3.blocks.0." in name]
    assert last_block == pytest.approx([LR / 2 * 0.1] * len(last_block))
    assert rates["head.0.weight"] == LR


@pytest.mark.parametrize("name", ["layer_decay_rate", "backbone_lr_mult"])
@pytest.mark.parametrize("rate", [0.0, 1.5, -1])
def test_a_rate_outside_its_range_is_refused(detector, name, rate):
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        groups_of(detector, **{name: rate})


def test_a_backbone_without_layers_is_refused():
    with pytest.raises(ValueError, match="layer_ids"):
        groups_of(Detector(nn.Conv2d(3, 3, 1)), layer_decay_rate=0.9)


def test_a_step_of_the_configs_optimizer_is_one_launch_a_setting(detector):
    from mmengine.config import Config

    from maxvit_dense.benchmark.counting import Counter

    wrapper = build_optim_wrapper(detector, Config.fromfile("configs/maskrcnn_maxvit_t_coco.py").optim_wrapper)
    for parameter in detector.parameters():
        parameter.grad = torch.ones_like(parameter)
    wrapper.step()  # makes the moments
    with Counter() as counter:
        wrapper.step()
    names = [launch.name for launch in counter.counts.launches]
    assert names.count("_fused_adamw_") == len(wrapper.optimizer.param_groups) == 2
    assert len(names) <= 4 and not counter.counts.waits
