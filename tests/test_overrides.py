"""Values of --cfg-options, read as configs have them."""

import argparse

import pytest

pytest.importorskip("mmengine")

from maxvit_dense.openmmlab.config.load import load_config  # noqa: E402
from tools._arguments import ConfigOverrides  # noqa: E402


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[dict(type=EMAHook,momentum=0.002)]", [dict(type="EMAHook", momentum=0.002)]),
        ("[dict(type='A', b=[1,(2,-3)], c=True, d=None)]", [dict(type="A", b=[1, (2, -3)], c=True, d=None)]),
        ('{"a": {"b": 1}}', dict(a=dict(b=1))),
        ("dict(policy=torch.nn.Linear)", dict(policy="torch.nn.Linear")),
        ("[(1,2),(3,4)]", [(1, 2), (3, 4)]),
        ("runs/{mine}.pth", "runs/{mine}.pth"),
    ],
)
def test_options_take_values_as_configs_have_them(text, value):
    parser = argparse.ArgumentParser()
    parser.add_argument("--cfg-options", nargs="+", action=ConfigOverrides)
    assert parser.parse_args(["--cfg-options", f"key={text}", "other=1"]).cfg_options == dict(key=value, other=1)


def test_options_below_a_none_of_the_config_are_its_entries():
    below = {"model.backbone.init_cfg.type": "Pretrained", "model.backbone.init_cfg.checkpoint": "mine.pth"}
    cfg = load_config("fpn_maxvit_mini_camvid", below, [])
    assert cfg.model.backbone.init_cfg == dict(type="Pretrained", checkpoint="mine.pth")
