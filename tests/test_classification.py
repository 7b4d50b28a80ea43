"""Classifier, data, metric and hooks of the ImageNet training, each by itself."""

import copy
import random
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from torch import nn

pytest.importorskip("mmengine")

from mmengine.logging import MessageHub  # noqa: E402
from mmengine.model import convert_sync_batchnorm  # noqa: E402
from timm.loss import BinaryCrossEntropy, LabelSmoothingCrossEntropy, SoftTargetCrossEntropy  # noqa: E402

import maxvit_dense.openmmlab  # noqa: E402, F401
from maxvit_dense.openmmlab.backbones.maxvit import MaxViT  # noqa: E402
from maxvit_dense.openmmlab.classification import (  # noqa: E402
    ClassFolders,
    EpochSampler,
    ImageBatch,
    ImageClassifier,
    ThroughputHook,
    TopAccuracy,
)
from maxvit_dense.openmmlab.data.layouts.class_folders import find_split, read_classes  # noqa: E402
from maxvit_dense.openmmlab.optim import LayerDecayOptimWrapperConstructor  # noqa: E402
from tests.class_folders import CLASSES, PER_CLASS, pictures, write_class_tars, write_folders, write_shards, write_tars  # noqa: E402

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
NET = dict(model_name="maxvit_mini", num_classes=3)
AUGMENT = dict(input_size=32, auto_augment="rand-m9-n2-mstd0.5", color_jitter=0.4)


def classifier(network=NET, mixup=None, **kwargs):
    batch = dict(type="ImageBatch", mean=MEAN, std=STD, num_classes=3, mixup=mixup)
    return ImageClassifier(network, batch, **kwargs)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("data") / "folders")


# Reading.


@pytest.mark.parametrize("write", [write_folders, write_tars, write_class_tars, write_shards])
@pytest.mark.parametrize("split", ["train", "val"])
def test_every_layout_gives_the_same_pictures_and_labels(write, split, tmp_path):
    data = ClassFolders(str(write(tmp_path / "data")), split, dict(input_size=(32, 40), crop_pct=1.0))
    found = {(int(item["label"]), item["inputs"].numpy().tobytes()) for item in data}
    expected = set()
    for name, i, content in pictures(split):
        path = tmp_path / f"{name}{i}.png"
        path.write_bytes(content)
        expected.add((CLASSES.index(name), np.array(Image.open(path)).transpose(2, 0, 1).tobytes()))
    assert found == expected and len(data) == 3 * PER_CLASS[split]


def test_shards_are_read_by_several_workers_at_once(tmp_path):
    data = ClassFolders(str(write_shards(tmp_path / "data")), "train", dict(input_size=(32, 40)))
    alone = [data[i]["inputs"] for i in range(len(data))]
    loader = torch.utils.data.DataLoader(data, batch_size=4, num_workers=2)
    assert torch.equal(torch.cat([batch["inputs"] for batch in loader]), torch.stack(alone))


def test_classes_are_sorted_as_numbers_where_they_are(tmp_path):
    for name in ("n10", "n9", "n100"):
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / "0.JPEG").touch()
    assert list(read_classes(find_split(str(tmp_path), "train"))) == ["n9", "n10", "n100"]


def test_augmentation_follows_from_seed_epoch_and_index_alone(root):
    data = ClassFolders(str(root), "train", AUGMENT, training=True)

    def draw(seed, epoch, index=5):
        random.seed(None)  # the state before does not matter
        torch.seed()
        np.random.seed(None)
        data.set_draw(seed, epoch)
        return data[index]["inputs"]

    assert torch.equal(draw(1, 2), draw(1, 2))
    assert not torch.equal(draw(1, 2), draw(1, 3)) and not torch.equal(draw(1, 2), draw(2, 2))
    loader = torch.utils.data.DataLoader(data, batch_size=6, num_workers=1, persistent_workers=True)
    first = next(iter(loader))["inputs"][5]
    data.set_draw(1, 2)  # workers that live on hear of it
    assert torch.equal(next(iter(loader))["inputs"][5], draw(1, 2))
    assert first.shape == (3, 32, 32)


def test_training_can_squash_whole_images(root):
    squash = dict(
        input_size=24, scale=(1.0, 1.0), ratio=(0.01, 100.0), hflip=0.0, color_jitter=None, interpolation="bicubic"
    )
    data = ClassFolders(str(root), "train", squash, training=True)
    path = root / "train" / "ape" / "0.png"
    expected = np.array(Image.open(path).resize((24, 24), Image.Resampling.BICUBIC))
    for epoch in range(5):
        data.set_draw(0, epoch)
        assert np.array_equal(data[0]["inputs"].numpy().transpose(1, 2, 0), expected)


def test_an_unreadable_image_is_named_and_another_stands_in(root, tmp_path):
    copy = write_folders(tmp_path / "copy")
    bad = copy / "train" / "bee" / "3.png"
    bad.write_bytes(bad.read_bytes()[:60])
    data = ClassFolders(str(copy), "train", dict(input_size=32), training=True)
    item = data[8 + 3]
    assert item["unreadable"] == str(bad) and item["label"] == 1
    bad = copy / "val" / "bee" / "1.png"
    bad.write_text("no image")
    item = ClassFolders(str(copy), "val", dict(input_size=32))[2 + 1]
    assert item["unreadable"] == str(bad) and item["label"] == -1  # counts neither right nor wrong


# Order.


def test_an_epoch_holds_whole_steps_and_leaves_out_others_each_time():
    sampler = EpochSampler(range(23), step=4, seed=3)
    epochs = []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        epochs.append(list(sampler))
    assert all(len(set(drawn)) == 20 == len(sampler) for drawn in epochs)
    assert len({frozenset(range(23)) - frozenset(drawn) for drawn in epochs}) > 1
    sampler.skip(8)
    assert list(sampler) == epochs[-1][8:] and list(sampler) == epochs[-1]  # the next epoch is whole again
    with pytest.raises(ValueError, match="3 images fill no step of 4"):
        EpochSampler(range(3), step=4)


# Model.


def test_images_are_normalised_as_torchvision_does():
    from torchvision.transforms.functional import normalize

    images = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    got = ImageBatch(MEAN, STD)(dict(inputs=images, label=torch.tensor([0, 1])), training=True)
    torch.testing.assert_close(got["inputs"], normalize(images / 255, MEAN, STD), atol=1e-5, rtol=1e-5)
    assert got["inputs"].is_contiguous(memory_format=torch.channels_last)
    assert got["target"].tolist() == [0, 1]


def test_mixing_and_erasing_happen_in_training_alone():
    batch = ImageBatch(MEAN, STD, dict(probability=1.0, mode="pixel"), dict(mixup_alpha=0.8), 3, 0.1)
    data = dict(inputs=torch.zeros(4, 3, 16, 16, dtype=torch.uint8), label=torch.tensor([0, 1, 2, 0]))
    mixed = batch(data, training=True)
    assert mixed["target"].shape == (4, 3)
    torch.testing.assert_close(mixed["target"].sum(1), torch.ones(4))
    assert mixed["inputs"].std(dim=(2, 3)).max() > 0  # the erased part is noise
    plain = batch(data, training=False)
    assert plain["target"].tolist() == [0, 1, 2, 0] and plain["inputs"].std(dim=(2, 3)).max() < 1e-6


def test_the_loss_is_the_one_that_timm_trains_with():
    assert isinstance(classifier(mixup=dict(mixup_alpha=0.8)).loss, SoftTargetCrossEntropy)
    assert isinstance(classifier(loss="bce").loss, BinaryCrossEntropy)
    smooth = classifier(label_smoothing=0.2).loss
    assert isinstance(smooth, LabelSmoothingCrossEntropy) and smooth.smoothing == 0.2
    with pytest.raises(ValueError, match="cross_entropy or bce"):
        classifier(loss="hinge")


def test_logits_are_those_of_timms_network():
    model = classifier().eval()
    net = timm.create_model("maxvit_mini", num_classes=3).eval()
    net.load_state_dict({k.removeprefix("backbone.net."): v for k, v in model.state_dict().items()})
    images = torch.randn(2, 3, 40, 32)
    torch.testing.assert_close(model(images, torch.tensor([0, 1])), net(images))
    (first, _) = model(images, torch.tensor([0, 1]), mode="predict")
    assert first["scores"].shape == (3,) and first["label"] == 0


def test_weights_under_timms_names_load():
    net = timm.create_model("maxvit_mini", num_classes=3, img_size=384)  # bias tables of another size
    model = classifier()
    missing = model.load_state_dict(net.state_dict())
    assert not missing.missing_keys and not missing.unexpected_keys
    assert torch.equal(model.backbone.net.head.fc.weight, net.head.fc.weight)
    assert model.backbone.net.stages[0].blocks[0].attn_grid.attn.rel_pos.relative_position_bias_table.shape[-1] == 13


@pytest.mark.parametrize(("classes", "head", "kept"), [(3, True, True), (5, True, False), (3, False, False)])
def test_a_classifier_starts_from_a_runs_checkpoint(classes, head, kept, tmp_path):
    trained = classifier(dict(NET, num_classes=classes))
    torch.save(dict(state_dict=trained.state_dict(), meta={}), tmp_path / "epoch_1.pth")
    init_cfg = dict(type="Pretrained", checkpoint=str(tmp_path / "epoch_1.pth"), head=head)
    model = classifier(init_cfg=init_cfg)
    fresh = model.backbone.net.head.fc.weight.clone()
    model.init_weights()
    ours, theirs = model.backbone.net, trained.backbone.net
    assert torch.equal(ours.stem.conv1.weight, theirs.stem.conv1.weight)
    assert torch.equal(ours.head.pre_logits.fc.weight, theirs.head.pre_logits.fc.weight)
    assert torch.equal(ours.head.fc.weight, theirs.head.fc.weight if kept else fresh)


def test_a_detectors_backbone_starts_from_a_runs_checkpoint(tmp_path):
    trained = classifier()
    torch.save(dict(state_dict=trained.state_dict(), meta={}), tmp_path / "epoch_1.pth")
    backbone = MaxViT("mini", init_cfg=dict(type="Pretrained", checkpoint=str(tmp_path / "epoch_1.pth")))
    backbone.init_weights()
    for name, value in backbone.net.state_dict().items():
        assert torch.equal(value, trained.backbone.net.state_dict()[name]), name


def test_layer_decay_slows_early_layers_and_not_the_head():
    model = classifier()
    wrapper = LayerDecayOptimWrapperConstructor(
        dict(optimizer=dict(type="AdamW", lr=1.0, weight_decay=0.1)), dict(layer_decay_rate=0.5, norm_decay_mult=0.0)
    )(model)
    rates = {id(p): g["lr"] for g in wrapper.optimizer.param_groups for p in g["params"]}
    net = model.backbone.net
    blocks = sum(len(stage.blocks) for stage in net.stages)
    assert rates[id(net.head.fc.weight)] == rates[id(net.head.norm.weight)] == 1.0
    assert rates[id(net.stages[3].blocks[-1].attn_grid.mlp.fc1.weight)] == 0.5
    assert rates[id(net.stem.conv1.weight)] == 0.5 ** (blocks + 1)


def test_frozen_statistics_stay():
    model = classifier(norm_eval=True).train()
    before = model.backbone.net.stages[0].blocks[0].conv.norm1.running_mean.clone()
    model(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), mode="loss")
    assert torch.equal(model.backbone.net.stages[0].blocks[0].conv.norm1.running_mean, before)
    assert model.backbone.training


def test_the_runners_conversion_to_sync_bn_changes_norms_alone():
    model = classifier()
    weights, others = copy.deepcopy(model.state_dict()), sum(not isinstance(m, nn.BatchNorm2d) for m in model.modules())
    norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    converted = convert_sync_batchnorm(model, "torch")
    parts = dict(converted.named_modules())
    assert norms and all(type(parts[name]) is nn.SyncBatchNorm for name in norms)
    assert all(
        (parts[name].eps, parts[name].momentum) == (m.eps, m.momentum) == (1e-3, 0.01) for name, m in norms.items()
    )
    assert len(parts) - len(norms) == others
    assert converted.state_dict().keys() == weights.keys()
    assert all(torch.equal(value, weights[name]) for name, value in converted.state_dict().items())


def test_recomputing_blocks_changes_no_gradient():
    grads = []
    for with_cp in (False, True):
        torch.manual_seed(0)
        model = classifier(with_cp=with_cp, norm_eval=True)
        model(torch.ones(2, 3, 32, 32), torch.tensor([0, 1]), mode="loss")["loss"].backward()
        assert model.backbone.net.stages[0].grad_checkpointing is with_cp
        grads.append(model.backbone.net.stem.conv1.weight.grad)
    torch.testing.assert_close(*grads)


def test_a_compiled_network_gives_the_same_logits_under_the_same_names():
    plain, compiled = classifier().eval(), classifier(compile=dict(backend="eager")).eval()
    compiled.load_state_dict(plain.state_dict(), strict=True)
    images, target = torch.randn(2, 3, 32, 32), torch.tensor([0, 1])
    torch._dynamo.utils.counters.clear()
    torch.testing.assert_close(compiled(images, target), plain(images, target))
    assert torch._dynamo.utils.counters["stats"]["calls_captured"] > 0
    assert copy.deepcopy(compiled).state_dict().keys() == plain.state_dict().keys()  # as EMA copies it


def test_another_timm_network_trains_too():
    model = classifier(dict(model_name="convnext_atto", num_classes=3))
    model(torch.randn(2, 3, 32, 32), torch.tensor([0, 1]), mode="loss")["loss"].backward()
    assert all(p.grad is not None for p in model.parameters())
    assert model.backbone.layer_ids()


# Throughput.


class FakeRun:
    """A run of one batch of four images: 0.1 s of waiting, 0.3 s of the model."""

    def __init__(self, seconds, waited, workers):
        self.message_hub = MessageHub.get_instance(f"throughput{seconds}{waited}{workers}")
        self.message_hub.update_scalar("train/data_time", waited)
        self.message_hub.update_scalar("train/time", waited + 0.3)
        self.train_dataloader = SimpleNamespace(num_workers=workers)
        self.logger = self
        self.warnings = []
        batch = dict(label=torch.zeros(4), seconds=torch.full((4,), seconds, dtype=torch.float64))
        hook = ThroughputHook(interval=1)
        for _ in range(2):
            hook.after_train_iter(self, 0, batch)

    def warning(self, text):
        self.warnings.append(text)

    def rate(self, name):
        return self.message_hub.get_scalar(f"train/{name}").current()


def test_rates_are_images_a_second_of_the_model_and_of_all_workers():
    run = FakeRun(seconds=0.2, waited=0.0, workers=4)
    assert run.rate("model_rate") == pytest.approx(4 / 0.3)
    assert run.rate("load_rate") == pytest.approx(4 / 0.2)  # four workers, 0.2 s an image each
    assert run.warnings == []


def test_loading_that_is_slower_is_told_once_with_advice():
    (text,) = FakeRun(seconds=0.2, waited=0.1, workers=1).warnings
    assert "5 images/s loaded, 13 trained; 25% of the time" in text and "num_workers" in text


# Metric.


def test_accuracy_counts_the_highest_scores_and_leaves_out_unreadable_images():
    metric = TopAccuracy(topk=(1, 2))
    scores = torch.tensor([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2], [0.1, 0.3, 0.6], [1.0, 0.0, 0.0]])
    labels = [1, 1, 0, -1]
    metric.process(None, [dict(scores=s, label=t) for s, t in zip(scores, labels, strict=True)])
    assert metric.evaluate(4) == {"accuracy/top1": pytest.approx(100 / 3), "accuracy/top2": pytest.approx(200 / 3)}
