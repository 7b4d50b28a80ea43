"""The page: what it shows, and the page itself where gradio is installed."""

import importlib
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet")

from maxvit_dense.attended import Attended, attended  # noqa: E402
from maxvit_dense.openmmlab import load  # noqa: E402
from maxvit_dense.openmmlab.inference import views  # noqa: E402
from tests.predictors import write_images, write_run  # noqa: E402
from tests.project_files import ROOT  # noqa: E402

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


def test_nothing_found_is_an_empty_list():
    nothing = dict(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0, int))
    assert views.describe(nothing, ("cat",)) == "[]"


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


@pytest.fixture
def address(predictor, monkeypatch):
    """Of a page that answers uploads of up to 1 MB."""
    pytest.importorskip("gradio", reason="needs gradio")
    from maxvit_dense.openmmlab.inference import page

    launched = []
    monkeypatch.setattr(page.gradio.Blocks, "block_thread", lambda blocks: launched.append(blocks))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    page.serve(predictor, "run", "127.0.0.1", port, limit=1)
    assert launched[0].local_url.startswith(f"http://127.0.0.1:{port}")
    yield f"http://127.0.0.1:{port}"
    launched[0].close()


def test_the_page_answers_and_refuses_large_files(address, image, tmp_path):
    client = pytest.importorskip("gradio_client")
    httpx = pytest.importorskip("httpx")
    Image.fromarray(image).save(tmp_path / "i.png")
    browser = client.Client(address, verbose=False)
    picture, listing = browser.predict(client.handle_file(tmp_path / "i.png"), 0.0, api_name="/predict")
    assert json.loads(listing if isinstance(listing, str) else listing["value"])
    assert Image.open(picture).size[0] >= 400
    with open(tmp_path / "large.bin", "wb") as stream:
        stream.write(bytes(2 * 2**20))
    with open(tmp_path / "large.bin", "rb") as stream:
        answer = httpx.post(f"{address}/gradio_api/upload", files=dict(files=stream))
    assert answer.status_code == 413


@pytest.mark.parametrize("predictor", ["classifier"], indirect=True)
def test_uploads_are_read_as_training_reads_them(address, predictor, image, tmp_path):
    client = pytest.importorskip("gradio_client")
    grey = image[..., 0].astype(np.uint16) << 8  # of 16 bits, whose high byte counts
    Image.fromarray(grey).save(tmp_path / "sixteen.png")
    _, listing = client.Client(address, verbose=False).predict(
        client.handle_file(tmp_path / "sixteen.png"), 0.0, api_name="/predict"
    )
    expected = views.describe(predictor([np.repeat(image[..., :1], 3, axis=2)])[0], predictor.classes)
    assert json.loads(listing if isinstance(listing, str) else listing["value"]) == json.loads(expected)


@pytest.mark.parametrize("predictor", ["detector"], indirect=True)
def test_what_is_no_image_is_told_and_shows_nothing(address, tmp_path, monkeypatch):
    client = pytest.importorskip("gradio_client")
    from maxvit_dense.openmmlab.inference import page

    told = []
    monkeypatch.setattr(page.gradio, "Warning", told.append)
    (tmp_path / "note.png").write_text("a note")
    picture, listing = client.Client(address, verbose=False).predict(
        client.handle_file(tmp_path / "note.png"), 0.0, api_name="/predict"
    )
    assert picture is None and not (listing if isinstance(listing, str | None) else listing["value"])
    assert len(told) == 1 and told[0].startswith("Image note.png cannot be read")


@pytest.mark.parametrize("predictor", ["detector"], indirect=True)
def test_a_file_of_this_machine_that_was_not_uploaded_is_not_read(address, image, tmp_path):
    httpx = pytest.importorskip("httpx")
    Image.fromarray(image).save(tmp_path / "own.png")
    asked = dict(path=str(tmp_path / "own.png"), meta=dict(_type="gradio.FileData"))
    call = httpx.post(f"{address}/gradio_api/call/predict", json=dict(data=[asked, 0.5]))
    answer = httpx.get(f"{address}/gradio_api/call/predict/{call.json()['event_id']}", timeout=60)
    assert "event: error" in answer.text and "event: complete" not in answer.text
    assert httpx.get(f"{address}/gradio_api/file={tmp_path / 'own.png'}").status_code == 403


def test_a_page_that_is_ended_leaves_no_uploads(tmp_path):
    pytest.importorskip("gradio", reason="needs gradio")
    httpx = pytest.importorskip("httpx")
    (tmp_path / "tmp").mkdir()
    run = write_run(tmp_path / "run", "classifier")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = [sys.executable, "-W", "ignore", ROOT / "tools/serve.py", run, "--device", "cpu", "--port", str(port)]
    place = dict(os.environ, TMPDIR=str(tmp_path / "tmp"))
    with subprocess.Popen(started, env=place, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while "Ctrl-C" not in process.stderr.readline():
            assert process.poll() is None
        upload = dict(files=("a.png", b"of somebody"))
        assert httpx.post(f"http://127.0.0.1:{port}/gradio_api/upload", files=upload).status_code == 200
        kept = {path.name for path in (tmp_path / "tmp").rglob("*.png")}
        process.terminate()
        process.stderr.read()
    assert process.returncode == 143
    assert kept == {"a.png"} and not list((tmp_path / "tmp").rglob("*.png"))
    assert {path.name for path in tmp_path.iterdir()} == {"tmp", "run"}
