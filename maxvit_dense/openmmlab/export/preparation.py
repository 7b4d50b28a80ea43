"""How a config prepares its test images, as the rules of the exported file's card."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from timm.data import create_transform
from torch import nn
from torchvision.transforms import CenterCrop, Resize

from ...errors import InputError
from ..config.parts import type_name
from ..data.data_set import data_sets

_NOT_RESIZING = ("Load", "Pack", "DropOutsideBoxes", "CheckLoaded")


def preparation(cfg: Config, model: nn.Module, any_resizing: bool = False) -> dict[str, Any]:
    """``Card.preprocessing`` of a config's test images.

    Args:
        cfg: of a detector, segmentor or classifier.
        model: built of it.
        any_resizing: let images keep their size where the runtime cannot resize them as the config does.

    Raises:
        InputError: a step that the runtime does not know.
    """
    dataset = data_sets(cfg, ("test",))[0].entry
    if cfg.model.type == "ImageClassifier":
        return _of_classifier(dataset.transform, model.data_preprocessor)
    preprocessor = model.data_preprocessor
    if not preprocessor._enable_normalize:
        mean, std = [0.0] * 3, [1.0] * 3
    else:
        mean, std = preprocessor.mean.flatten().tolist(), preprocessor.std.flatten().tolist()
    try:
        resize = _resize_rule(dataset.pipeline)
    except InputError:
        if not any_resizing:
            raise
        resize = dict(rule="keep")
    exact = getattr(model.backbone, "exact_batches", False)
    # mmdet's preprocessor and mmseg's name it differently; images are read as BGR.
    is_rgb = getattr(preprocessor, "_channel_conversion", False) or getattr(preprocessor, "channel_conversion", False)
    return dict(
        order="rgb" if is_rgb else "bgr",
        mean=mean,
        std=std,
        resize=resize,
        pad_multiple=1 if exact else int(getattr(preprocessor, "pad_size_divisor", 1)),
    )


def _resize_rule(pipeline: list[Mapping[str, Any]]) -> dict[str, Any]:
    rules = []
    for step in pipeline:
        name = type_name(step)
        if name == "Resize" and step.get("scale") and step.get("interpolation", "bilinear") == "bilinear":
            short, long = sorted(step["scale"])
            if step.get("keep_ratio"):
                rules.append(dict(rule="fit", short=short, long=long))
            else:
                rules.append(dict(rule="stretch", width=step["scale"][0], height=step["scale"][1]))
        elif not name.startswith(_NOT_RESIZING):
            raise InputError(
                f"The test pipeline has {dict(step)}, which exported models do not do. Export with a pipeline of "
                "LoadImageFromFile, one Resize to a scale, and Pack..., or the backbone alone: --backbone"
            )
    if len(rules) > 1:
        raise InputError(f"The test pipeline resizes {len(rules)} times; exported models do so once.")
    return rules[0] if rules else dict(rule="keep")


def _of_classifier(transform: Mapping[str, Any], preprocessor: nn.Module) -> dict[str, Any]:
    steps = create_transform(**transform, is_training=False, normalize=False).transforms
    if type(steps[0]) is not Resize or type(steps[1]) is not CenterCrop or len(steps) != 3:
        names = ", ".join(type(step).__name__ for step in steps)
        raise InputError(
            f"The test transform is {names}; exported classifiers resize and crop the centre. Use crop_mode "
            "center or squash."
        )
    scale = steps[0].size
    return dict(
        order="rgb",
        mean=preprocessor.mean.flatten().tolist(),
        std=preprocessor.std.flatten().tolist(),
        resize=dict(
            rule="crop",
            size=list(steps[1].size),
            scale=[scale] if isinstance(scale, int) else list(scale),
            interpolation=steps[0].interpolation.value,
        ),
        pad_multiple=1,
    )
