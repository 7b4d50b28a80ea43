"""transformers takes the network by its timm wrappers."""

import pytest
import torch

transformers = pytest.importorskip("transformers", reason="needs transformers (requirements/clients.txt)")

import maxvit_dense  # noqa: E402, F401  registers the timm names


def backbone_config(**kwargs):
    return transformers.TimmBackboneConfig(backbone="maxvit_mini", use_pretrained_backbone=False, **kwargs)


def test_timm_backbone():
    backbone = transformers.TimmBackbone(backbone_config(out_indices=[1, 2, 3, 4]))
    maps = backbone(torch.randn(1, 3, 70, 90)).feature_maps
    assert [tuple(m.shape[1:]) for m in maps] == [(32, 18, 23), (64, 9, 12), (128, 5, 6), (256, 3, 3)]
    assert list(backbone.channels) == [32, 64, 128, 256]


def test_detr_takes_a_step():
    config = transformers.DetrConfig(
        backbone_config=backbone_config(out_indices=[4]),
        use_timm_backbone=False,
        num_labels=3,
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=5,
    )
    model = transformers.DetrForObjectDetection(config).train()
    labels = [dict(class_labels=torch.tensor([1]), boxes=torch.tensor([[0.5, 0.5, 0.2, 0.3]]))]
    loss = model(pixel_values=torch.randn(1, 3, 64, 96), labels=labels).loss
    loss.backward()
    assert loss.isfinite()


def test_upernet_takes_a_step():
    config = transformers.UperNetConfig(
        backbone_config=backbone_config(out_indices=[1, 2, 3, 4]),
        hidden_size=32,
        num_labels=4,
        auxiliary_in_channels=128,
    )
    model = transformers.UperNetForSemanticSegmentation(config).train()
    output = model(torch.randn(2, 3, 64, 96), labels=torch.randint(0, 4, (2, 64, 96)))
    output.loss.backward()
    assert output.logits.shape == (2, 4, 64, 96)


def test_timm_wrapper_classifies():
    config = transformers.TimmWrapperConfig(architecture="maxvit_mini", num_labels=3)
    model = transformers.TimmWrapperForImageClassification(config).train()
    output = model(pixel_values=torch.randn(2, 3, 70, 50), labels=torch.tensor([0, 2]))
    output.loss.backward()
    assert output.logits.shape == (2, 3)
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_mask2former_takes_a_step():
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone_config(out_indices=[1, 2, 3, 4]),
        hidden_dim=32,
        feature_size=32,
        mask_feature_size=32,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        encoder_feedforward_dim=32,
        dim_feedforward=32,
        num_queries=5,
        num_labels=3,
        train_num_points=64,
    )
    model = transformers.Mask2FormerForUniversalSegmentation(config).train()
    mask = torch.zeros(1, 64, 96)
    mask[:, 10:30, 10:30] = 1
    labels = dict(mask_labels=[mask], class_labels=[torch.tensor([1])])
    loss = model(pixel_values=torch.randn(1, 3, 64, 96), **labels).loss
    loss.backward()
    backbone = [p for name, p in model.named_parameters() if "backbone" in name]
    assert loss.isfinite() and all(p.grad is not None for p in backbone)
