"""What a page shows of a model and an image: the network's view, results as text, where a pixel looks."""

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image, ImageDraw, ImageFont

from ...attended import Attended
from ...predict.results import TOP, kind, ranked
from .predictor import Predictor

_TILE = 320  # pixels of a picture of one stage
_GAP = 6
_DARK = 0.35  # of the image outside a window
_HEAT = (255, 60, 0)


def seen(predictor: Predictor, pixels: np.ndarray) -> tuple[torch.Tensor, np.ndarray]:
    """An image as it enters the network, (1, 3, H, W), and as a person sees that, (H, W, 3) uint8 RGB."""
    item = predictor.prepared(pixels)
    if predictor.task == "classification":
        shown = item["inputs"].permute(1, 2, 0).numpy()
        data = dict(inputs=item["inputs"][None], label=torch.zeros(1))
        return predictor.model.data_preprocessor(data)["inputs"], shown
    shown = np.ascontiguousarray(item["inputs"].permute(1, 2, 0).numpy()[..., ::-1]).astype(np.uint8)
    inputs = predictor.model.data_preprocessor(pseudo_collate([item]))["inputs"]
    return inputs[..., : shown.shape[0], : shown.shape[1]], shown


def describe(result: Mapping[str, Any], classes: tuple[str, ...]) -> str:
    """What was found, as JSON."""
    if kind(result) == "detection":
        found = zip(
            result["labels"], result["scores"].tolist(), result["boxes"].astype(float).round(1).tolist(), strict=True
        )
        rows = [dict(label=classes[label], score=round(score, 4), box=box) for label, score, box in found]
    elif kind(result) == "segmentation":
        rows = [dict(label=classes[i], share=round(share, 4)) for i, share in ranked(result)]
    else:
        rows = [dict(label=classes[i], score=round(score, 4)) for i, score in ranked(result, TOP)]
    lines = ",\n".join(f"  {json.dumps(row)}" for row in rows)
    return f"[\n{lines}\n]" if rows else "[]"


def attention_sheet(image: np.ndarray, layers: list[Attended], row: float, column: float) -> Image.Image:
    """Block windows above, grid windows below, a stage a column: the image dark outside the window, red by weight."""
    height, width = image.shape[:2]
    factor = _TILE / max(height, width)
    size = math.ceil(width * factor), math.ceil(height * factor)
    stages = sorted({layer.stage for layer in layers})
    sheet = Image.new("RGB", (len(stages) * (size[0] + _GAP), 2 * (size[1] + _GAP)), "white")
    for layer in layers:
        tile = _one_layer(image, layer).resize(size, Image.Resampling.NEAREST)
        pen, x, y = ImageDraw.Draw(tile), column * size[0], row * size[1]
        pen.ellipse((x - 5, y - 5, x + 5, y + 5), outline="white", fill="black", width=2)
        name = f"stage {layer.stage + 1}, {'grid' if layer.grid else 'block'}"
        pen.text((8, 6), name, "white", ImageFont.load_default(size=20), stroke_width=2, stroke_fill="black")
        sheet.paste(tile, (stages.index(layer.stage) * (size[0] + _GAP), layer.grid * (size[1] + _GAP)))
    return sheet


def _one_layer(image: np.ndarray, layer: Attended) -> Image.Image:
    height, width = image.shape[:2]
    rows = np.arange(height) * layer.weights.shape[0] // height
    columns = np.arange(width) * layer.weights.shape[1] // width
    places = np.ix_(rows, columns)
    heat = (layer.weights / layer.weights.max()).cpu().numpy()[places][..., None]
    inside = layer.window.cpu().numpy()[places][..., None]
    shade = np.where(inside, 1 - 0.8 * heat, _DARK)
    return Image.fromarray((image * shade + np.array(_HEAT) * 0.8 * heat * inside).clip(0, 255).astype(np.uint8))
