"""A page that shows what a trained model finds in an image, and where a pixel of it looks."""

import sys
from pathlib import Path

import gradio
import numpy as np
from PIL import Image

from ...attended import attended
from ...attention import WindowAttention
from ...errors import InputError
from ...predict.draw import LONG_SIDE, draw
from ...predict.images import read_image
from ...predict.results import Result, select
from .predictor import Predictor
from .views import attention_sheet, describe, seen

_BUTTONS = ["download", "fullscreen"]


def _build_page(predictor: Predictor, title: str) -> gradio.Blocks:
    """The page; ``launch`` it."""
    with gradio.Blocks(title=title, analytics_enabled=False) as page:
        gradio.Markdown(f"## {title}\n{predictor.task} of {len(predictor.classes)} classes")
        found = gradio.State()  # pixels and result
        with gradio.Row():
            image = gradio.Image(label="Image", sources=["upload", "clipboard"], height=420)
            image.preprocess = lambda upload: upload and upload.path  # or gradio would read it, and otherwise
            picture = gradio.Image(label="Found", format="png", interactive=False, height=420, buttons=_BUTTONS)
        threshold = gradio.Slider(
            0, 1, value=0.5, step=0.01, label="Least score", visible=predictor.task == "detection"
        )
        listing = gradio.Code(label="JSON", language="json", interactive=False, lines=8, max_lines=16)

        def predict(path: str | None, score: float) -> tuple:
            found = None if path is None else _predicted(predictor, path)
            return found, *show(score, found)

        def show(score: float, found: tuple[np.ndarray, Result] | None) -> tuple:
            if found is None:
                return None, ""
            pixels, kept = found[0], select(found[1], score)
            return draw(pixels, kept, predictor.classes, predictor.palette), describe(kept, predictor.classes)

        predicted = image.change(predict, [image, threshold], [found, picture, listing])
        # Not release, which the keyboard does not cause; while one is drawn the last of the others waits.
        threshold.change(
            show, [threshold, found], [picture, listing], show_progress="hidden", trigger_mode="always_last"
        )
        if any(isinstance(part, WindowAttention) for part in predictor.model.modules()):
            _add_attention(predictor, found, predicted)
    return page


def _predicted(predictor: Predictor, path: str) -> tuple[np.ndarray, Result] | None:
    """Pixels and result of an upload; None where it is no image that can be used, which is told."""
    try:
        pixels = read_image(path)
        return pixels, predictor([pixels])[0]
    except InputError as error:
        gradio.Warning(str(error).replace(f"{Path(path).parent}/", ""))
        return None


def _add_attention(predictor: Predictor, found: gradio.State, predicted: gradio.events.Dependency) -> None:
    gradio.Markdown(
        "### Where a pixel looks\nClick into the image, here as the network sees it. Bright is the window in which the "
        "place looks, red what it takes: above block windows, below grid windows, stage by stage."
    )
    with gradio.Row():
        view = gradio.Image(show_label=False, interactive=False, buttons=[])
        maps = gradio.Image(show_label=False, format="png", interactive=False, scale=3, buttons=_BUTTONS)

    def show(found: tuple[np.ndarray, Result] | None) -> tuple:
        return None if found is None else _enlarged(seen(predictor, found[0])[1]), None  # no map of the image before

    def look(found: tuple[np.ndarray, Result], event: gradio.SelectData) -> Image.Image:
        inputs, shown = seen(predictor, found[0])
        height, width = _enlarged(shown).shape[:2]
        column, row = event.index[0] / width, event.index[1] / height
        return attention_sheet(shown, attended(predictor.model.backbone.net, inputs, row, column), row, column)

    predicted.then(show, found, [view, maps])
    view.select(look, found, maps)


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
