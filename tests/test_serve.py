"""The page: what it shows, and the page itself where gradio is installed."""

import importlib
import json
import socket
import threading

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet")

from maxvit_dense.attended import Attended, attended  # noqa: E402
from maxvit_dense.openmmlab import load  # noqa: E402
from maxvit_dense.openmmlab.inference import views  # noqa: E402
from tests.predictors import write_images, write_run  # noqa: E402

command = importlib.import_module("tools.serve").main


@pytest.fixture(scope="module", params=["detector", "segmentor", "classifier"])
def predictor(request, tmp_path_factory):
    return load(write_run(tmp_path_factory.mktemp("run") / request.param, request.param), device="cpu")


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    return np.asarray(Image.open(write_images(tmp_path_factory.mktemp("images"))[1]))


def test_the_networks_view_is_what_it_is_given(predictor, image):
    inputs, shown = views.seen(predictor, image)
    assert inputs.shape == (1, 3, *shown.shape[:2]) and shown.dtype == np.uint8
    normal = predictor.model.data_preprocessor
    again = (torch.tensor(shown.copy()).permute(2, 0, 1) - normal.mean) / normal.std
    torch.testing.assert_close(inputs[0], again)
    layers = attended(predictor.model.backbone.net, inputs, 0.5, 0.5)
    assert views.attention_sheet(shown, layers, 0.5, 0.5).width > 4 * 200


def test_results_are_json(predictor, image):
    rows = json.loads(views.describe(predictor(image)[0], predictor.classes))
    assert {row["label"] for row in rows} <= set(predictor.classes)
    values = [row.get("score", row.get("share")) for row in rows]
    assert rows and values == sorted(values, reverse=True) and all(0 <= value <= 1 for value in values)


def test_a_picture_is_dark_outside_the_window_and_red_where_the_weight_is():
    weights = torch.zeros(4, 4)
    weights[0, 0], weights[1, 1] = 0.75, 0.25
    window = torch.zeros(4, 4, dtype=torch.bool)
    window[:2, :2] = True
    sheet = views.attention_sheet(np.full((64, 64, 3), 200, np.uint8), [Attended(0, False, weights, window)], 0.9, 0.9)
    at = np.asarray(sheet)
    for place, colour in (((40, 40), (244, 88, 40)), ((120, 40), (200,) * 3), ((280, 40), (70,) * 3)):
        np.testing.assert_allclose(at[place], colour, atol=1)


def test_without_gradio_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert command(["run"]) == 2
    assert 'pip install "maxvit_dense[serve]"' in capsys.readouterr().err


def test_a_place_where_no_page_can_be_is_told_before_the_model_is_read(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert command(["run", "--port", port]) == 2
    said = capsys.readouterr().err
    assert f"127.0.0.1:{port}" in said and said.count("\n") == 1
    for option in (["--port", "99999"], ["--limit", "0"]):
        with pytest.raises(SystemExit):
            command(["run", *option])


def test_the_page_answers_on_this_machine_alone_and_refuses_large_files(predictor, image, tmp_path, monkeypatch):
    pytest.importorskip("gradio", reason="needs gradio")
    client = pytest.importorskip("gradio_client")
    httpx = pytest.importorskip("httpx")
    from maxvit_dense.openmmlab.inference import page

    launched, ready = {}, threading.Event()
    monkeypatch.setattr(page.gradio.Blocks, "block_thread", lambda blocks: (launched.update(page=blocks), ready.set()))
    page.serve(predictor, "run", "127.0.0.1", 7899, limit=1)
    assert ready.is_set() and launched["page"].local_url.startswith("http://127.0.0.1:7899")
    try:
        Image.fromarray(image).save(tmp_path / "i.png")
        browser = client.Client("http://127.0.0.1:7899", verbose=False)
        picture, listing = browser.predict(client.handle_file(tmp_path / "i.png"), 0.0, api_name="/predict")
        assert json.loads(listing if isinstance(listing, str) else listing["value"])
        assert Image.open(picture).size[0] >= 400
        with open(tmp_path / "large.bin", "wb") as stream:
            stream.write(bytes(2 * 2**20))
        with open(tmp_path / "large.bin", "rb") as stream:
            answer = httpx.post("http://127.0.0.1:7899/gradio_api/upload", files=dict(files=stream))
        assert answer.status_code == 413
    finally:
        launched["page"].close()
