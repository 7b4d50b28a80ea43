"""timm's networks as backbones: maps, sizes, weights, layers, and the peers' configs."""

import logging

import pytest
import timm
import torch

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")

from mmengine.config import Config  # noqa: E402
from mmengine.optim import build_optim_wrapper  # noqa: E402
from mmengine.registry import MODELS  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.backbones import timm_features as timm_backbone  # noqa: E402
from maxvit_dense.openmmlab.config.load import build_model

# Swin at any size, small enough to test: settings that its constructor takes go through the backbone to timm.
SWIN = dict(
    model_name="swin_tiny_patch4_window7_224",
    embed_dim=24,
    depths=(1, 1, 2, 1),
    num_heads=(1, 2, 3, 6),
    strict_img_size=False,
    always_partition=True,
)
GCVIT = dict(model_name="gcvit_xxtiny", embed_dim=16, img_size=96, window_ratio=32)
COATNET = dict(model_name="test_coatnet", img_size=96)
NETWORKS = {
    "swin": SWIN,
    "convnext": dict(model_name="convnext_atto"),
    "gcvit": GCVIT,
    "coatnet": COATNET,  # timm's maps begin at stride 2
    "resnet": dict(model_name="resnet10t"),  # and they do, too
}
MAXVIT = dict(type="MaxViT", arch="mini")
BACKBONES = {"maxvit": MAXVIT, **NETWORKS}
PEERS = ("swin", "convnext", "gcvit", "coatnet")
PEER_CONFIGS = [f"maskrcnn_{peer}_t_coco" for peer in PEERS] + [f"upernet_{peer}_t_ade20k" for peer in PEERS]


def build(**kwargs):
    return MODELS.build(dict(type="TimmFeatures", drop_path_rate=0.0) | kwargs)


def timm_maps(backbone, kwargs, image):
    """Maps at strides 4-32 of timm's own features_only network with a backbone's weights."""
    reference = timm.create_model(features_only=True, drop_path_rate=0.0, **kwargs).eval()
    weights = {name.replace(".", "_"): value for name, value in backbone.net.state_dict().items()}
    # timm's wrapper writes "stages_0.blocks" for "stages.0.blocks"
    reference.load_state_dict({name: weights[name.replace(".", "_")] for name in reference.state_dict()})
    maps = reference(image)
    if str(getattr(reference, "output_fmt", "NCHW")).endswith("NHWC"):
        maps = [m.permute(0, 3, 1, 2) for m in maps]
    return {stride: m for stride, m in zip(reference.feature_info.reduction(), maps, strict=True)}


@pytest.mark.parametrize("kwargs", NETWORKS.values(), ids=NETWORKS)
def test_maps_are_those_of_timms_features_only_network(kwargs):
    backbone = build(**kwargs).eval()
    image = torch.randn(2, 3, 96, 96)
    expected = timm_maps(backbone, kwargs, image)
    found = backbone(image)
    for stride, width, level in zip((4, 8, 16, 32), backbone.channels, found, strict=True):
        assert level.shape == (2, width, 96 // stride, 96 // stride)
        torch.testing.assert_close(level, expected[stride], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(33, 65), (96, 50), (1, 1)])
@pytest.mark.parametrize("name", sorted(NETWORKS.keys() - {"gcvit"}))  # timm's has one size
def test_other_sizes_give_timms_maps_of_the_extended_image_cut_to_the_image(name, size):
    kwargs = NETWORKS[name]
    backbone = build(**kwargs).eval()
    image = torch.randn(1, 3, *size)
    full = (96, 96) if "img_size" in kwargs else tuple(-(-n // 32) * 32 for n in size)
    expected = timm_maps(backbone, kwargs, F.pad(image, (0, full[1] - size[1], 0, full[0] - size[0])))
    for stride, found in zip((4, 8, 16, 32), backbone(image), strict=True):
        height, width = -(-size[0] // stride), -(-size[1] // stride)
        assert found.shape[-2:] == (height, width)
        torch.testing.assert_close(found, expected[stride][..., :height, :width], rtol=0, atol=0)


@pytest.mark.parametrize("size", [(160, 96), (64, 224), (32, 32)])
def test_gc_vit_has_the_official_detectors_rule_at_any_size(size):
    """Its last stage's second block in that rule's own words: one query for all windows, zeros as keys unmasked."""
    backbone = build(**GCVIT).eval()
    seen = {}
    stage = backbone.net.stages[2]
    window, block = 3, stage.blocks[1]  # 96 / 32
    stage.global_block.blocks.register_forward_hook(lambda m, i, out: seen.update(query=out))
    block.norm1.register_forward_hook(lambda m, i, out: seen.update(x=out))
    block.ls1.register_forward_hook(lambda m, i, out: seen.update(found=i[0]))
    maps = backbone(torch.randn(2, 3, *size))
    assert [m.shape[-2:] for m in maps] == [tuple(-(-n // s) for n in size) for s in (4, 8, 16, 32)]

    query = F.interpolate(seen["query"], (window, window), mode="bicubic").permute(0, 2, 3, 1).flatten(1, 2)
    x, height, width = seen["x"], *seen["x"].shape[1:3]
    for top in range(0, height, window):
        for left in range(0, width, window):
            real = x[:, top : top + window, left : left + window]
            filled = x.new_zeros(2, window, window, x.shape[-1])
            filled[:, : real.shape[1], : real.shape[2]] = real
            expected = block.attn(filled.flatten(1, 2), query).unflatten(1, (window, window))
            expected = expected[:, : real.shape[1], : real.shape[2]]
            found = seen["found"][:, top : top + window, left : left + window]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kwargs", BACKBONES.values(), ids=BACKBONES)
def test_every_parameter_has_a_layer_from_the_stem_on_and_gets_a_gradient(kwargs):
    backbone = build(**kwargs if kwargs is MAXVIT else dict(kwargs, out_norm=True)).train()
    sum(m.square().mean() for m in backbone(torch.randn(2, 3, 64, 96))).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.isfinite().all()] == []
    layers = backbone.layer_ids()
    assert set(layers) == {name for name, _ in backbone.named_parameters()}
    assert set(layers.values()) == set(range(max(layers.values()) + 1))
    first = next(name for name, _ in backbone.net.named_parameters())
    assert layers[f"net.{first}"] == 0


def test_layers_of_convnext_are_the_stem_and_its_blocks_one_by_one():
    layers = build(model_name="convnext_atto").layer_ids()  # 2, 2, 6, 2 blocks
    assert layers["net.stages.0.blocks.1.mlp.fc1.weight"] == 2
    assert layers["net.stages.2.blocks.5.mlp.fc1.weight"] == 10
    assert max(layers.values()) == 12


def test_a_network_whose_layers_timm_does_not_know_is_refused_for_layer_decay():
    with pytest.raises(ValueError, match="does not tell the layers of MetaFormer"):
        build(model_name="poolformer_s12", out_indices=(0,)).layer_ids()


@pytest.mark.parametrize("kwargs", [MAXVIT, COATNET], ids=["maxvit", "coatnet"])
def test_out_indices_choose_maps_in_the_order_given_and_stages_behind_the_last_are_not_built(kwargs):
    full, part = build(**kwargs).eval(), build(out_indices=(2, 1), **kwargs).eval()
    part.net.load_state_dict({k: v for k, v in full.net.state_dict().items() if k in part.net.state_dict()})
    image = torch.randn(1, 3, 64, 96)
    expected = full(image)
    assert len(part.net.stages) == 3
    assert part.channels == [full.channels[2], full.channels[1]]
    assert all(torch.equal(a, b) for a, b in zip(part(image), (expected[2], expected[1]), strict=True))


def test_out_norm_normalises_the_channels_of_each_map():
    for level in build(model_name="convnext_atto", out_norm=True).eval()(torch.randn(1, 3, 64, 64)):
        assert level.mean(1).abs().max() < 1e-5
        assert level.std(1).mean().item() == pytest.approx(1, abs=0.1)


def test_images_larger_than_a_fixed_size_are_refused_with_both_sizes():
    with pytest.raises(ValueError, match=r"up to 96 x 96 pixels .* these have 64 x 97"):
        build(**COATNET)(torch.randn(1, 3, 64, 97))


@pytest.mark.parametrize("frozen", [-1, 0, 2, 4])
@pytest.mark.parametrize("kwargs", [MAXVIT, NETWORKS["convnext"]], ids=["maxvit", "convnext"])
def test_frozen_stages_have_no_gradient_and_stay_in_evaluation_mode(kwargs, frozen):
    net = build(frozen_stages=frozen, **kwargs).train().net
    for depth, part in enumerate([net.stem, *net.stages]):
        assert {p.requires_grad for p in part.parameters()} == {depth > frozen}, depth
        assert {m.training for m in part.modules()} == {depth > frozen}, depth


@pytest.mark.parametrize("kwargs", [MAXVIT, COATNET], ids=["maxvit", "coatnet"])
def test_norm_eval_keeps_batch_statistics_and_nothing_else_still(kwargs):
    backbone = build(norm_eval=True, **kwargs).train()
    before = {name: b.clone() for name, b in backbone.named_buffers()}
    backbone(torch.randn(2, 3, 64, 64))
    assert any("running_mean" in name for name in before)
    assert all(block.training for stage in backbone.net.stages for block in stage.blocks)
    assert all(torch.equal(before[name], b) for name, b in backbone.named_buffers())


@pytest.mark.parametrize("kwargs", BACKBONES.values(), ids=BACKBONES)
def test_with_cp_changes_no_gradient(kwargs):
    plain, saving = build(**kwargs).train(), build(with_cp=True, **kwargs).train()
    saving.load_state_dict(plain.state_dict())
    image = torch.randn(2, 3, 64, 64)
    for backbone in (plain, saving):
        sum(m.square().mean() for m in backbone(image)).backward()
    for (name, p), q in zip(plain.named_parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


@pytest.fixture
def log():
    """A logger and the lines that it got."""
    logger, lines = logging.getLogger("test_timm_backbone"), []
    logger.setLevel(logging.INFO)
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    logger.addHandler(handler)
    yield logger, lines
    logger.removeHandler(handler)


def save(tmp_path, weights):
    path = tmp_path / "weights.pth"
    torch.save(weights, path)
    return path


def load(path, logger, **kwargs):
    backbone = build(init_cfg=dict(type="Pretrained", checkpoint=str(path)), **kwargs)
    backbone.load_weights(backbone.read_weights(logger), logger)
    return backbone.eval()


@pytest.mark.parametrize("kwargs", NETWORKS.values(), ids=NETWORKS)
def test_a_classifiers_file_loads_and_the_log_tells_what_was_left_out(kwargs, tmp_path, log):
    logger, lines = log
    classifier = timm.create_model(**kwargs)
    path = save(tmp_path, classifier.state_dict())
    loaded = load(path, logger, out_indices=(0, 1, 2), **kwargs).net.state_dict()
    assert all(torch.equal(value, classifier.state_dict()[name]) for name, value in loaded.items())
    absent = {name for name in classifier.state_dict() if name not in loaded}
    parts = {".".join(name.split(".")[: 2 if name.split(".")[1].isdigit() else 1]) for name in absent}
    assert lines == [
        f"{kwargs['model_name']} backbone: loaded {len(loaded)} tensors from {path}; left out "
        f"{', '.join(sorted(parts))}"
    ]


@pytest.mark.parametrize("prefix", ["backbone.net.", "net.", "model."])
def test_checkpoints_of_detectors_and_wrappers_load(prefix, tmp_path, log):
    kwargs = SWIN | dict(out_indices=(0, 1, 2))
    net = build(**kwargs).net
    weights = {prefix + name: value for name, value in net.state_dict().items()}
    if prefix.startswith("backbone."):
        weights["neck.conv.weight"] = torch.zeros(1)
    loaded = load(save(tmp_path, dict(state_dict=weights)), log[0], **kwargs).net.state_dict()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.items())


def test_weights_in_the_authors_own_layout_are_renamed_as_timm_does(tmp_path, log):
    """Swin's repository merges patches at a stage's end, timm at the beginning of the next."""
    net = timm.create_model(**SWIN)
    weights = {}
    for name, value in net.state_dict().items():
        stage = int(name.split(".")[1]) if ".downsample." in name else 0
        weights[name.replace(f"layers.{stage}.downsample", f"layers.{stage - 1}.downsample")] = value
    loaded = load(save(tmp_path, dict(model=weights)), log[0], out_indices=(0, 1), **SWIN).net.state_dict()
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in loaded.items())


@pytest.mark.parametrize(
    ("kwargs", "trained", "tables"),
    [(GCVIT, dict(img_size=224, window_ratio=(32, 32, 16, 32)), 12), (COATNET, dict(img_size=160), 3)],
    ids=["gcvit", "coatnet"],
)
def test_tables_of_another_size_are_resized_and_the_log_says_so(kwargs, trained, tables, tmp_path, log):
    logger, lines = log
    classifier = timm.create_model(**kwargs | trained)
    for name, parameter in classifier.named_parameters():
        if name.endswith("relative_position_bias_table"):
            nn.init.constant_(parameter, 0.25)  # a constant stays what it is under any interpolation
    loaded = load(save(tmp_path, classifier.state_dict()), logger, **kwargs).net.state_dict()
    resized = [value for name, value in loaded.items() if name.endswith("relative_position_bias_table")]
    assert len(resized) == tables
    assert all(torch.allclose(value, torch.tensor(0.25)) for value in resized)
    assert f"resized {tables} bias tables" in lines[0]


def test_a_first_convolution_of_other_channels_sums_to_the_trained_one(tmp_path, log):
    classifier = timm.create_model("convnext_atto")
    backbone = load(save(tmp_path, classifier.state_dict()), log[0], model_name="convnext_atto", in_channels=1)
    expected = classifier.stem[0].weight.sum(1, keepdim=True)
    torch.testing.assert_close(backbone.net.stem[0].weight, expected)


@pytest.mark.parametrize("other", ["convnext_femto", "resnet10t"])
def test_weights_of_another_network_are_refused_in_one_message(other, tmp_path, log):
    path = save(tmp_path, timm.create_model(other).state_dict())
    with pytest.raises(ValueError, match="not of this network: [1-9].*(of another shape|missing)"):
        load(path, log[0], model_name="convnext_atto")


@pytest.mark.parametrize("missing_ok", [True, False])
@pytest.mark.parametrize("name", ["convnext_atto.d2_in1k", "gcvit_xxtiny.in1k"])  # on the hub; at an address
def test_unreachable_weights_stop_or_warn_as_asked(monkeypatch, tmp_path, log, name, missing_ok):
    def unreachable(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setattr(timm_backbone, "load_state_dict_from_hf", unreachable)
    monkeypatch.setattr("torch.hub.download_url_to_file", unreachable)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    logger, lines = log
    arch, _, tag = name.partition(".")
    backbone = build(model_name=arch, init_cfg=dict(type="Pretrained", checkpoint=tag, missing_ok=missing_ok))
    if missing_ok:
        assert backbone.read_weights(logger) is None
        assert f"RANDOM WEIGHTS: could not fetch the weights {name}" in lines[0]
    else:
        with pytest.raises(OSError, match=f"weights {name} .*give it as init_cfg.checkpoint"):
            backbone.read_weights(logger)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (dict(model_name="convnext_tinny"), "no such network; near are convnext_tiny"),
        (dict(model_name="convnext_atto.in22k"), r"the tags are convnext_atto.d2_in1k"),
        (dict(model_name="vit_tiny_patch16_224"), r"no map at stride 4: its maps are at \[16\]"),
        (dict(model_name="convnext_atto", out_indices=(0, 4)), "0, 1, 2, 3"),
        (dict(model_name="convnext_atto", out_indices=()), "0, 1, 2, 3"),
        (dict(model_name="convnext_atto", frozen_stages=5), "1-4"),
        (dict(model_name="convnext_atto", img_size=96), "any size"),
        (dict(model_name="test_coatnet", img_size=100), "multiples of 32"),
        (dict(model_name="test_coatnet", img_size=0), "multiples of 32"),
        (dict(model_name="convnext_atto", init_cfg=dict(type="Xavier")), "Pretrained"),
    ],
)
def test_bad_arguments_are_named_with_what_is_allowed(kwargs, message):
    with pytest.raises(ValueError, match=message):
        build(**kwargs)


@pytest.mark.parametrize(
    ("name", "taker"), [("maskrcnn_swin_t_coco", "neck"), ("upernet_swin_t_ade20k", "decode_head")]
)
def test_widths_that_do_not_fit_the_neck_or_head_stop_the_build_with_both_lists(name, taker):
    cfg = Config.fromfile(f"configs/{name}.py")
    cfg.model[taker].in_channels = [64, 128, 256, 512]
    with pytest.raises(InputError, match=rf"{taker}.in_channels is \[64, 128, 256, 512\].* \[96, 192, 384, 768\]"):
        build_model(cfg)


@pytest.mark.parametrize("name", PEER_CONFIGS)
def test_peers_run_on_maxvits_recipe(name):
    peer = name.split("_")[1]
    theirs, ours = (Config.fromfile(f"configs/{n}.py").to_dict() for n in (name, name.replace(peer, "maxvit")))
    same = ["train_cfg", "param_scheduler", "auto_scale_lr", "val_evaluator"]
    same += ["train_dataloader", "val_dataloader", "test_dataloader"]
    assert [key for key in same if theirs[key] != ours[key]] == []
    assert theirs["optim_wrapper"]["optimizer"] == ours["optim_wrapper"]["optimizer"]
    norms = [cfg["model"]["backbone"].get("norm_eval", False) for cfg in (theirs, ours)]
    assert peer != "coatnet" or norms[0] == norms[1]  # the others have no BatchNorm


@pytest.mark.parametrize("name", PEER_CONFIGS)
def test_vectors_and_bias_tables_of_peers_do_not_decay(name):
    cfg = Config.fromfile(f"configs/{name}.py")
    model = nn.Module()
    with torch.device("meta"):
        model.backbone = MODELS.build(cfg.model.backbone)
    optimizer = build_optim_wrapper(model, cfg.optim_wrapper).optimizer
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    for parameter_name, parameter in model.named_parameters():
        is_matrix = parameter.dim() > 1 and not parameter_name.endswith("relative_position_bias_table")
        assert (decays[id(parameter)] > 0) == is_matrix, parameter_name
