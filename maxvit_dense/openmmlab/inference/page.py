"""A page that shows what a trained model finds in an image, and where a pixel of it looks."""

import sys

import gradio
import numpy as np
from PIL import Image

from ...attended import attended
from ...attention import WindowAttention
from ...predict.draw import LONG_SIDE, draw
from ...predict.results import Result, select
from .predictor import Predictor
from .views import attention_sheet, describe, seen

_BUTTONS = ["download", "fullscreen"]


def _build_page(predictor: Predictor, title: str) -> gradio.Blocks:
    """The page; ``launch`` it."""
    looks = any(isinstance(part, WindowAttention) for part in predictor.model.modules())
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f"## {title}\n{predictor.task} of {len(predictor.classes)} classes")
        found = gradio.State()
        with gradio.Row():
            image = gradio.Image(label="Image", type="numpy", sources=["upload", "clipboard"], height=420)
            picture = gradio.Image(label="Found", format="png", interactive=False, height=420, buttons=_BUTTONS)
        threshold = gradio.Slider(
            0, 1, value=0.5, step=0.01, label="Least score", visible=predictor.task == "detection"
        )
        listing = gradio.Code(label="JSON", language="json", interactive=False, lines=8, max_lines=16)

        def predict(pixels: np.ndarray | None, score: float) -> tuple:
            result = None if pixels is None else predictor([pixels])[0]
            return result, *show(pixels, score, result)

        def show(pixels: np.ndarray | None, score: float, result: Result | None) -> tuple:
            if pixels is None or result is None:
                return None, ""
            kept = select(result, score)
            return draw(pixels, kept, predictor.classes, predictor.palette), describe(kept, predictor.classes)

        image.change(predict, [image, threshold], [found, picture, listing])
        threshold.release(show, [image, threshold, found], [picture, listing], show_progress="hidden")
        if looks:
            _add_attention(predictor, image)
    return page


def _add_attention(predictor: Predictor, image: gradio.Image) -> None:
    gradio.Markdown(
        "### Where a pixel looks\nClick into the image, here as the network sees it. Bright is the window in which the "
        "place looks, red what it takes: above block windows, below grid windows, stage by stage."
    )
    with gradio.Row():
        view = gradio.Image(show_label=False, interactive=False, buttons=[])
        maps = gradio.Image(show_label=False, format="png", interactive=False, scale=3, buttons=_BUTTONS)
    image.change(lambda pixels: None if pixels is None else _enlarged(seen(predictor, pixels)[1]), image, view)

    def look(pixels: np.ndarray, event: gradio.SelectData) -> Image.Image:
        inputs, shown = seen(predictor, pixels)
        height, width = _enlarged(shown).shape[:2]
        column, row = event.index[0] / width, event.index[1] / height
        return attention_sheet(shown, attended(predictor.model.backbone.net, inputs, row, column), row, column)

    view.select(look, image, maps)


def _enlarged(image: np.ndarray) -> np.ndarray:
    """Large enough to be clicked into."""
    factor = max(1, round(LONG_SIDE / max(image.shape[:2])))
    return image.repeat(factor, axis=0).repeat(factor, axis=1)


def serve(predictor: Predictor, title: str, host: str, port: int, limit: int) -> None:
    """Answer at ``host:port`` until interrupted; uploads are of ``limit`` MB at most."""
    page = _build_page(predictor, title).queue(max_size=20)
    theme = gradio.themes.Default(font="sans-serif", font_mono="monospace")  # others are fetched from elsewhere
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        max_file_size=f"{limit}mb",
        footer_links=[],
        theme=theme,
        prevent_thread_lock=True,
    )
    print(f"{title}: http://{host}:{port} (Ctrl-C ends it)", file=sys.stderr, flush=True)
    page.block_thread()
