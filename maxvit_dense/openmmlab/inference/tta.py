"""Test-time augmentation: every image at several scales, flipped and not, and one result merged from these views."""

from collections.abc import Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from torch import Tensor

from ...errors import InputError
from ..config.parts import type_name
from ..data.data_set import data_sets

# Sizes of the views over that of the config's test pipeline. mmsegmentation configs/_base_/datasets/ade20k.py;
# mmdetection configs/rtmdet/rtmdet_tta.py: at 1333x800, short sides of 400, 800 and 1200.
_RATIOS = {"mmseg": (0.5, 0.75, 1.0, 1.25, 1.5, 1.75), "mmdet": (0.5, 1.0, 1.5)}
_MODELS = {
    "mmseg": dict(type="SegTTAModel"),
    "mmdet": dict(type="MaskTTAModel", tta_cfg=dict(nms=dict(type="nms", iou_threshold=0.5), max_per_img=100)),
}
_FLIPPED_DIMS = {"horizontal": (-1,), "vertical": (-2,), "diagonal": (-2, -1)}


@MODELS.register_module()
class MaskTTAModel(DetTTAModel):
    """mmdet's merging of boxes found in several views, with their masks, at which mmdet's own stops.

    Boxes of all views are flipped back to the image; of those of one class that overlap, non-maximum suppression
    keeps the surest (``tta_cfg.nms``, ``tta_cfg.max_per_img``). A box keeps the mask that was found with it.
    """

    def _merge_single_sample(self, data_samples: Sequence[DetDataSample]) -> DetDataSample:
        """One image's result from those of its views, the first of which carries the truth."""
        found = [sample.pred_instances for sample in data_samples]
        boxes, scores = self.merge_aug_bboxes(
            [view.bboxes for view in found],
            [view.scores for view in found],
            [sample.metainfo for sample in data_samples],
        )
        labels = torch.cat([view.labels for view in found])
        merged = data_samples[0]
        if len(boxes) == 0:
            return merged
        # (n, 5) with the scores last, which a soft suppression lowers; n numbers through all views in turn
        kept, numbers = batched_nms(boxes, scores, labels, self.tta_cfg.nms)
        kept, numbers = kept[: self.tta_cfg.max_per_img], numbers[: self.tta_cfg.max_per_img]
        result = InstanceData(bboxes=kept[:, :4], scores=kept[:, 4], labels=labels[numbers])
        if "masks" in found[0]:
            result.masks = _pick_masks(data_samples, numbers.tolist())
        merged.pred_instances = result
        return merged


def _pick_masks(data_samples: Sequence[DetDataSample], numbers: Sequence[int]) -> Tensor:
    """Masks (n, H, W), on the unflipped image, of the instances with these numbers through all views in turn."""
    owners = [(sample, i) for sample in data_samples for i in range(len(sample.pred_instances))]
    masks = data_samples[0].pred_instances.masks
    picked = masks.new_empty((len(numbers), *masks.shape[1:]))
    for place, number in enumerate(numbers):
        sample, i = owners[number]
        dims = _FLIPPED_DIMS[sample.flip_direction] if sample.flip else ()
        picked[place] = sample.pred_instances.masks[i].flip(dims)
    return picked


def augment_test(cfg: Config) -> None:
    """Have the Runner test each image of ``cfg`` in several views and merge what is found in them.

    The config's ``tta_pipeline`` and ``tta_model`` are taken where it has them. Else the views are those of its test
    pipeline at several scales, each once more flipped from left to right, and its toolbox decides how they merge.

    Raises:
        InputError: views or merging that cannot be derived from the config.
    """
    scope = cfg.get("default_scope")
    model = cfg.get("tta_model") or _MODELS.get(scope)
    if model is None:
        raise InputError(
            f"--tta knows how to merge results of {' and '.join(_MODELS)}, and the config's default_scope is {scope}. "
            "Give the config a tta_model and a tta_pipeline."
        )
    for data in data_sets(cfg, ("test",)):
        pipeline = cfg.get("tta_pipeline") or _views(data.pipeline, _RATIOS.get(scope, ()))
        if not any(type_name(step) == "TestTimeAug" for step in pipeline):
            raise InputError("The config's tta_pipeline has no step TestTimeAug, which makes the views. Add one.")
        data.entry["pipeline"] = pipeline
    cfg.model = ConfigDict(**model, module=cfg.model)


def _views(pipeline: Sequence[ConfigDict], ratios: Sequence[float]) -> list[ConfigDict]:
    """A test pipeline that makes views: its resizing at each ratio, then flipped or not, then the rest of it.

    What follows the resizing, the truth among it, belongs to the whole and unflipped image in every view.
    """
    names = [type_name(step) for step in pipeline]
    if names.count("Resize") != 1 or "scale" not in pipeline[names.index("Resize")]:
        raise InputError(
            "--tta resizes each image to several scales, and the config's test pipeline has no single Resize step with "
            f"a scale; its steps are: {', '.join(names) or 'none'}. Give the config a tta_pipeline."
        )
    at = names.index("Resize")
    if "LoadAnnotations" in names[:at]:
        raise InputError(
            "--tta would flip the truth with the image, since the config's test pipeline loads it before Resize. Move "
            "LoadAnnotations behind Resize, or give the config a tta_pipeline."
        )
    resize = pipeline[at]
    scale = resize["scale"]
    width, height = (scale, scale) if isinstance(scale, int) else scale
    sizes = [ConfigDict(resize, scale=(round(width * ratio), round(height * ratio))) for ratio in ratios]
    flips = [ConfigDict(type="RandomFlip", prob=prob, direction="horizontal") for prob in (0.0, 1.0)]
    rest = [[_with_flip(step)] for step in pipeline[at + 1 :]]
    return [*pipeline[:at], ConfigDict(type="TestTimeAug", transforms=[sizes, flips, *rest])]


def _with_flip(step: ConfigDict) -> ConfigDict:
    """A step that, where it lists what to tell the model of an image, lists the flip too."""
    if "meta_keys" not in step:
        return step
    return ConfigDict(step, meta_keys=tuple(dict.fromkeys([*step["meta_keys"], "flip", "flip_direction"])))
