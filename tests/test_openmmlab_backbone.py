"""The backbone as OpenMMLab sees it: arguments, maps, weights. What it shares with timm's: test_timm_backbone.py."""

import logging

import numpy as np
import pytest
import timm
import torch
from torch import nn

import maxvit_dense  # noqa: F401  registers the timm names

pytest.importorskip("mmengine", reason="needs mmengine (pip install maxvit_dense[openmmlab])")

from mmengine.registry import MODELS  # noqa: E402

from maxvit_dense.openmmlab import weights as backbone_weights  # noqa: E402

WIDTHS = (32, 64, 128, 256)


def build(**kwargs):
    return MODELS.build(dict(type="MaxViT", arch="mini") | kwargs)


@pytest.fixture
def mini_weights(tmp_path):
    """A timm checkpoint of the whole classifier, and its network."""
    net = timm.create_model("maxvit_mini").eval()
    path = tmp_path / "mini.pth"
    torch.save(net.state_dict(), path)
    return net, path


def pretrained(path, **kwargs):
    backbone = build(init_cfg=dict(type="Pretrained", checkpoint=str(path)), **kwargs)
    backbone.init_weights()
    return backbone.eval()


def test_sister_toolboxes_find_it_through_the_root_registry():
    from mmdet.registry import MODELS as DET
    from mmseg.registry import MODELS as SEG

    for registry in (DET, SEG):
        built = registry.build(dict(type="MaxViT", arch="mini"))
        assert type(built).__module__ == "maxvit_dense.openmmlab.backbones.maxvit"


@pytest.mark.parametrize("size", [(33, 65), (96, 50), (1, 1)])
def test_maps_are_at_strides_4_to_32_rounded_up(size):
    maps = build().eval()(torch.randn(2, 3, *size))
    assert isinstance(maps, tuple)
    for channels, stride, found in zip(WIDTHS, (4, 8, 16, 32), maps, strict=True):
        assert found.shape == (2, channels, -(-size[0] // stride), -(-size[1] // stride))


def test_sync_batch_norm_conversion_keeps_activations():
    backbone = build()
    activations = sum(isinstance(m, nn.GELU) for m in backbone.modules())
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in backbone.modules())
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(backbone)
    assert sum(isinstance(m, nn.SyncBatchNorm) for m in converted.modules()) == norms > 0
    assert sum(isinstance(m, nn.GELU) for m in converted.modules()) == activations
    norm = converted.net.stem.norm1
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


def test_bfloat16_autocast_runs_forward_and_backward():
    backbone = build().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = backbone(torch.randn(2, 3, 64, 50))
    sum(m.float().square().mean() for m in maps).backward()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


def test_timm_checkpoint_loads_and_gives_timm_maps(mini_weights):
    net, path = mini_weights
    image = torch.randn(1, 3, 64, 96)
    expected = net.forward_intermediates(image, intermediates_only=True)[1:]
    for found, wanted in zip(pretrained(path)(image), expected, strict=True):
        torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("prefix", ["backbone.net.", "backbone.", "net.", "model."])
def test_checkpoints_of_detectors_and_wrappers_load(mini_weights, tmp_path, prefix):
    net, _ = mini_weights
    weights = {prefix + name: value for name, value in net.state_dict().items() if not name.startswith("head.")}
    if prefix.startswith("backbone."):
        weights["neck.conv.weight"] = torch.zeros(1)
    path = tmp_path / "detector.pth"
    torch.save(dict(state_dict=weights, meta={}), path)
    loaded = pretrained(path).net.state_dict()
    assert all(torch.equal(loaded[name], net.state_dict()[name]) for name in loaded)


def test_log_tells_what_was_loaded_resized_and_left_out(tmp_path):
    net = timm.create_model("maxvit_mini", img_size=384)
    logger = logging.getLogger("test_log")
    records = []
    logger.addHandler(logging.Handler())
    logger.handlers[-1].emit = lambda record: records.append(record.getMessage())
    logger.setLevel(logging.INFO)
    backbone = build(out_indices=(0, 1))
    backbone_weights.load_backbone(backbone.net, net.state_dict(), "weights.pth", logger)
    count = len(backbone.net.state_dict())
    assert records == [
        f"MaxViT backbone: loaded {count} tensors from weights.pth; resized 4 bias tables from [23, 23] to [13, 13]; "
        "left out head, stages.2, stages.3"
    ]


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ("maxvit_t", "stage widths are 64, 128, 256, 512, the network's 32, 64, 128, 256"),
        ("resnet18", "not of this network"),
    ],
)
def test_weights_of_another_network_are_refused_in_one_message(other, message, tmp_path):
    torch.save(timm.create_model(other).state_dict(), tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        pretrained(tmp_path / "other.pth")


def test_a_tag_sets_the_bias_table_size_it_was_trained_with():
    backbone = MODELS.build(
        dict(type="MaxViT", arch="t", out_indices=(0,), init_cfg=dict(type="Pretrained", checkpoint="in1k_384"))
    )
    assert backbone.net.stages[0].blocks[0].attn_grid.attn.rel_pos.relative_position_bias_table.shape == (2, 23, 23)
    assert backbone.net.window_size == (7, 7)


@pytest.mark.parametrize("missing_ok", [True, False])
def test_an_unreachable_hub_stops_or_warns_as_asked(monkeypatch, missing_ok):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr("maxvit_dense.variants.load_state_dict_from_hf", unreachable)
    init_cfg = dict(type="Pretrained", checkpoint="maxvit_t.in1k", missing_ok=missing_ok)
    logger = logging.getLogger("test_hub")
    if missing_ok:
        assert backbone_weights.read_weights("maxvit_t", init_cfg, logger) is None
    else:
        with pytest.raises(OSError, match="pass the file"):
            backbone_weights.read_weights("maxvit_t", init_cfg, logger)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(arch="huge"), "t, s, b, l, xl, .*mini"),
        (dict(out_indices=(0, 4)), "0, 1, 2, 3"),
        (dict(out_indices=()), "0, 1, 2, 3"),
        (dict(frozen_stages=5), "1-4"),
        (dict(window_size=0), "positive int"),
        (dict(window_size="big"), "positive int"),
        (dict(init_cfg=dict(type="Xavier")), "Pretrained"),
        (dict(init_cfg=dict(type="Pretrained")), "checkpoint"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize("with_cp", [False, True, "cheap"])
def test_what_is_recomputed_reaches_every_stage(with_cp):
    backbone = MODELS.build(dict(type="MaxViT", arch="mini", with_cp=with_cp))
    assert [stage.grad_checkpointing for stage in backbone.net.stages] == [with_cp] * 4


def test_out_indices_may_be_a_range_or_numpys_integers():
    images = torch.rand(1, 3, 64, 64)
    for out_indices in (range(1, 3), tuple(np.arange(1, 3))):
        backbone = build(out_indices=out_indices).eval()
        assert backbone.out_indices == (1, 2) and all(type(i) is int for i in backbone.out_indices)
        assert [x.shape[-1] for x in backbone(images)] == [8, 4]


@pytest.mark.parametrize("size", [(64, 64), (70, 51)])
def test_coatnet_gives_the_maps_of_timms_name_at_any_size(size):
    backbone = MODELS.build(dict(type="CoAtNet", arch="pico_rw", out_indices=(1, 3))).eval()
    net = timm.create_model("coatnet_pico_rw", features_only=True, out_indices=(2, 4)).eval()
    net.model.load_state_dict(backbone.net.state_dict())
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(backbone(images), net(images), strict=True))
    assert (backbone.channels, backbone.strides) == ([128, 512], [8, 32])


@pytest.mark.parametrize(("kind", "arch"), [("CoAtNet", "t"), ("MaxViT", "0_rw")])
def test_an_unknown_arch_is_told_those_of_its_family(kind, arch):
    with pytest.raises(ValueError, match=f"{kind} comes in the sizes") as error:
        MODELS.build(dict(type=kind, arch=arch))
    assert ("rmlp_2_rw" in str(error.value)) == (kind == "CoAtNet")


def test_arch_and_weights_name_timms_own_networks():
    backbone = MODELS.build(dict(type="MaxViT", arch="nano.rw_256", window_size=5))
    names = backbone.net.state_dict()
    assert names["stages.0.blocks.0.attn_block.attn.rel_pos.relative_position_bias_table"].shape == (169, 2)
    by_weights = dict(type="Pretrained", checkpoint="maxvit_nano.rw_256", missing_ok=True)
    named = MODELS.build(dict(type="MaxViT", arch="nano", init_cfg=by_weights))
    assert named.net.state_dict().keys() == names.keys()
