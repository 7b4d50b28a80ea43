"""torchvision's maxvit_t weights: the same outputs and gradients, and any image size."""

import pytest
import timm
import torch
import torchvision
from networks import fill_with_noise, relative_difference

import maxvit_dense  # noqa: F401  registers the timm names
from maxvit_dense.weights.fit import checkpoint_filter_fn
from maxvit_dense.weights.torchvision_layout import from_torchvision

NAME = "maxvit_t.tv_in1k"
# Every map of these divides by the window of 7, which torchvision asks for; 221 and 223 round up to the maps of 224.
# torchvision builds no others: its grid attention also asks for maps as high as wide.
SIZES = [(224, 224), (221, 223), (448, 448)]


def torchvision_network(size=(224, 224)):
    torch.manual_seed(0)
    net = torchvision.models.maxvit_t(input_size=size)
    for module in net.modules():  # noise for what starts as a constant; weak residual ends, as training leaves them
        table = getattr(module, "relative_position_bias_table", None)
        if table is not None:
            torch.nn.init.normal_(table)
        elif isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        for name, value in net.named_parameters():
            if value.dim() == 1:
                value.add_(0.1 * torch.randn_like(value))
            elif not name.endswith("bias_table"):
                value.mul_(2)  # std .02 lets signals fade to nothing over eleven blocks
    return net.eval()


def ours_with(reference):
    net = timm.create_model(NAME).eval()
    net.load_state_dict(checkpoint_filter_fn(reference.state_dict(), net), strict=True)
    return net


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_logits_equal_torchvisions(size):
    reference = torchvision_network(size)
    images = torch.randn(1, 3, *size)
    with torch.no_grad():
        wanted, found = reference(images), ours_with(reference)(images)
    assert relative_difference(found, wanted) < 1e-4
    assert wanted.std() > 1e-3


def test_every_parameter_gradient_equals_torchvisions():
    reference = torchvision_network()
    ours = ours_with(reference)
    images, pull = torch.randn(1, 3, 224, 224), torch.randn(1, 1000)
    for net in (reference, ours):
        (net(images) * pull).sum().backward()
    wanted = from_torchvision({name: p.grad for name, p in reference.named_parameters()})
    found = {name: p.grad for name, p in ours.named_parameters()}
    assert found.keys() == wanted.keys()
    for name, gradient in found.items():
        if ".attn.qkv." in name:  # ours = theirs * scale, so the gradient of ours is theirs / scale, not * scale
            channels = gradient.shape[0] // 3
            wanted[name][channels : 2 * channels] /= 32 / channels
        assert relative_difference(gradient, wanted[name]) < 1e-3, name


def test_parameter_count_is_torchvisions():
    assert sum(p.numel() for p in timm.create_model(NAME, device="meta").parameters()) == 30_919_624


def test_a_file_loads_through_timms_own_way(tmp_path):
    reference = torchvision_network()
    torch.save(reference.state_dict(), tmp_path / "tv.pth")
    overlay = dict(file=str(tmp_path / "tv.pth"))
    ours = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=overlay).eval()
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert relative_difference(ours(images), reference(images)) < 1e-4


def test_a_file_loads_with_another_number_of_classes(tmp_path):
    torch.save(torchvision_network().state_dict(), tmp_path / "tv.pth")
    overlay = dict(file=str(tmp_path / "tv.pth"))
    ours = timm.create_model(NAME, pretrained=True, num_classes=7, pretrained_cfg_overlay=overlay)
    assert ours.get_classifier().weight.shape[0] == 7


def test_any_image_size_runs_and_halves_rounding_up():
    net = fill_with_noise(timm.create_model("maxvit_t.tv_in1k", features_only=True)).eval()
    with torch.no_grad():
        maps = net(torch.randn(1, 3, 75, 129))
    assert [tuple(m.shape[-2:]) for m in maps] == [(38, 65), (19, 33), (10, 17), (5, 9), (3, 5)]
    assert all(torch.isfinite(m).all() for m in maps)


def test_the_tag_says_how_torchvision_evaluates():
    cfg = timm.create_model(NAME, device="meta").pretrained_cfg
    theirs = torchvision.models.MaxVit_T_Weights.IMAGENET1K_V1
    transform = theirs.transforms()
    assert cfg["url"] == theirs.url
    assert cfg["crop_pct"] == transform.crop_size[0] / transform.resize_size[0]
    assert (list(cfg["mean"]), list(cfg["std"])) == (transform.mean, transform.std)
    assert cfg["interpolation"] == transform.interpolation.value


def test_folding_batch_norm_changes_nothing():
    reference = torchvision_network()
    ours = ours_with(reference)
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        wanted = ours(images)
        found = timm.utils.reparameterize_model(ours)(images)
    assert relative_difference(found, wanted) < 1e-4


def official_timm(weights, path):
    checkpoint_filter_fn(weights, timm.create_model("maxvit_t", device="meta"))


def official_detector(weights, path):
    backbones = pytest.importorskip("maxvit_dense.openmmlab.backbones.maxvit")
    torch.save(weights, path)
    backbones.MaxViT("t", init_cfg=dict(type="Pretrained", checkpoint=str(path))).init_weights()


def official_classifier(weights, path):
    classification = pytest.importorskip("maxvit_dense.openmmlab.classification")
    images = dict(type="ImageBatch", mean=(0.5,) * 3, std=(0.5,) * 3)
    classification.ImageClassifier(dict(model_name="maxvit_t"), images).load_state_dict(weights)


@pytest.mark.parametrize("load", [official_timm, official_detector, official_classifier])
@pytest.mark.parametrize("layout", [dict, from_torchvision], ids=["theirs", "ours"])
def test_weights_of_torchvision_for_the_official_network_are_told_their_tag(load, layout, tmp_path):
    with pytest.raises(ValueError, match=r"arch='t\.tv_in1k'"):
        load(layout(torchvision_network().state_dict()), tmp_path / "tv.pth")


@pytest.mark.parametrize("layout", [dict, from_torchvision], ids=["theirs", "ours"])
def test_a_detector_and_a_classifier_take_torchvisions_weights_by_its_tag(layout, tmp_path):
    backbones = pytest.importorskip("maxvit_dense.openmmlab.backbones.maxvit")
    classification = pytest.importorskip("maxvit_dense.openmmlab.classification")
    reference = torchvision_network()
    weights, images = layout(reference.state_dict()), torch.randn(1, 3, 224, 224)
    torch.save(weights, tmp_path / "tv.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "tv.pth"))
    backbone = backbones.MaxViT("t.tv_in1k", init_cfg=init_cfg).eval()
    backbone.init_weights()
    classifier = classification.ImageClassifier(
        dict(model_name=NAME), dict(type="ImageBatch", mean=(0.5,) * 3, std=(0.5,) * 3)
    ).eval()
    classifier.load_state_dict(weights)
    with torch.no_grad():
        last = backbone(images)[-1]
        features = reference.stem(images)
        for block in reference.blocks:
            features = block(features)
        assert relative_difference(last, features) < 1e-4
        assert relative_difference(classifier(images, None), reference(images)) < 1e-4
