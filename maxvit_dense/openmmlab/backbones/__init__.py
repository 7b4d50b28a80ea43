"""Backbones of OpenMMLab: MaxViT, and any network of timm's."""
