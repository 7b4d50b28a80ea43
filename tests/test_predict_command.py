"""The command predict, with predictors that need no network and with small random ones: images, folders, videos."""

import importlib
import json
import os
from threading import Event

import numpy as np
import pytest
from PIL import Image

from maxvit_dense.errors import InputError
from maxvit_dense.predict import write
from tests.detections import CLASSES, found

command = importlib.import_module("tools.predict").main


class Boxes:
    """Finds one box in the middle of each image."""

    task, classes = "detection", CLASSES

    def __call__(self, images):
        return [found([[w / 4, h / 4, w * 3 / 4, h * 3 / 4]], [0.8], [1]) for h, w, _ in (i.shape for i in images)]


@pytest.fixture
def photos(tmp_path):
    for name in ("1.jpg", "deep/2.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), "gray").save(tmp_path / "photos" / name)
    return tmp_path / "photos"


@pytest.fixture
def predict(monkeypatch, tmp_path):
    """The command in a folder of its own, with a predictor that needs no network."""
    monkeypatch.setattr("maxvit_dense.runtime.load", lambda path, runtime, score: Boxes())
    monkeypatch.chdir(tmp_path)
    return lambda *options: command(["boxes.onnx", *map(str, options)])


def files(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_pictures_and_results_lie_under_the_names_of_their_images(predict, photos, tmp_path, capsys):
    assert predict(photos, "--out", "labels", "--format", "yolo", "--batch", "2") == 0
    assert files(tmp_path / "predictions") == ["1.jpg", "deep/2.png"]
    assert files(tmp_path / "labels") == ["1.txt", "classes.txt", "deep/2.txt"]
    assert (tmp_path / "labels" / "1.txt").read_text() == "1 0.500000 0.500000 0.500000 0.500000\n"
    summary = capsys.readouterr().out
    assert summary.startswith("2 images, 2 objects, ") and "images/s: predictions, labels" in summary
    assert predict(photos, "--score", "0.9", "--pictures", "none", "--out", "none.json") == 0
    assert json.loads((tmp_path / "none.json").read_text()) == []


def test_earlier_pictures_and_masks_are_not_predicted_again(predict, photos, tmp_path):
    (photos / "masks").mkdir()
    Image.new("L", (64, 48)).save(photos / "masks" / "1.png")
    options = (".", "--out", "photos/masks", "--format", "yolo")
    assert predict(*options) == predict(*options) == 0
    assert files(tmp_path / "predictions") == ["photos/1.jpg", "photos/deep/2.png"]


def test_an_unreadable_image_is_named_and_the_rest_goes_on(predict, photos, tmp_path, capsys):
    (photos / "0.jpg").write_bytes(b"\xff\xd8 no image")
    (photos / "link.png").symlink_to("nowhere")
    (photos / "loop.png").symlink_to("loop.png")
    os.mkfifo(photos / "pipe.png")
    for options in ([], ["--tile", "40", "--overlap", "8"], ["--pictures", "photos/pictures"]):
        assert predict("photos", *options) == 1
        printed = capsys.readouterr()
        assert printed.err.count("0.jpg cannot be read") == 1 and printed.err.count("photos/link.png") == 1
        assert "no image photos/loop.png" in printed.err and "photos/pipe.png is not a file" in printed.err
        assert printed.out.startswith("2 images, ") and "4 could not be read" in printed.out
    assert files(tmp_path / "predictions") == ["1.jpg", "deep/2.png"]


@pytest.mark.parametrize("threads", [0, 10**6])
def test_work_is_beside_the_network_only_where_that_leaves_a_core(predict, photos, tmp_path, monkeypatch, threads):
    beside, last, running, wrote = [], Event(), Event(), Event()

    def add(writer, item, *result):
        if not threads:
            assert last.wait(60)  # the first image is written while the others are predicted
        beside.append(running.is_set())
        wrote.set()
        return write_text(writer, item, *result)

    def answer(model, images):
        running.set()
        if len(images) == 2:
            last.set()
            assert threads or wrote.wait(60)
        found = boxes(model, images)
        running.clear()
        return found

    write_text, boxes = write.YoloText.add, Boxes.__call__
    monkeypatch.setattr(write.YoloText, "add", add)
    monkeypatch.setattr(Boxes, "__call__", answer)
    monkeypatch.setattr(Boxes, "threads", threads, raising=False)
    Image.new("RGB", (64, 48)).save(photos / "3.png")
    (photos / "0.jpg").write_bytes(b"no image")
    assert predict(photos, "--out", "labels", "--format", "yolo", "--batch", "2") == 1
    assert files(tmp_path / "labels") == ["1.txt", "3.txt", "classes.txt", "deep/2.txt"]
    assert len(beside) == 3 and (not any(beside) if threads else beside[0])


@pytest.mark.parametrize("batch", [1, 3])
def test_an_image_that_the_model_refuses_is_named_and_the_rest_goes_on(predict, photos, monkeypatch, batch, capsys):
    def narrow_refused(model, images):
        if any(image.shape[1] < 10 for image in images):
            raise InputError("too narrow")
        return answer(model, images)

    answer = Boxes.__call__
    monkeypatch.setattr(Boxes, "__call__", narrow_refused)
    Image.new("RGB", (5, 90)).save(photos / "0.png")
    assert predict("photos", "--batch", batch) == 1
    printed = capsys.readouterr()
    assert printed.err == "predict: photos/0.png: too narrow\n"
    assert "2 images, 2 objects, 1 could not be read" in printed.out


def test_an_error_in_writing_ends_the_command(predict, photos, tmp_path, monkeypatch, capsys):
    def refuse(writer, item, size, result):
        raise PermissionError(13, "no", "labels/1.txt")

    monkeypatch.setattr(write.YoloText, "add", refuse)
    assert predict(photos, "--out", "labels", "--format", "yolo") == 2
    printed = capsys.readouterr()
    assert "labels/1.txt" in printed.err and "Give other places" in printed.err and not printed.out
    assert not (tmp_path / "labels").exists()


@pytest.mark.parametrize("link", ["folder", "linked folder", "hard link", "symbolic link"])
def test_no_picture_takes_the_place_of_its_source(predict, photos, tmp_path, link, capsys):
    target = tmp_path / "out"
    if link == "folder":
        target = photos.parent / "photos" / "deep" / ".."
    elif link == "linked folder":
        target.symlink_to(photos)
    else:
        target.mkdir()
        (os.link if link == "hard link" else os.symlink)(photos / "1.jpg", target / "1.jpg")
    before = {name: (photos / name).read_bytes() for name in files(photos)}
    for source in (photos / "*.jpg", photos):
        assert predict(source, "--pictures", target) == 2
        assert "would be overwritten" in capsys.readouterr().err
    assert {name: (photos / name).read_bytes() for name in files(photos)} == before


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["nothing"], "There is no nothing"),
        (["photos", "--classes", "ant,dog"], "the model has no dog; it has ant, bee, cat"),
        (["photos", "--out", "table.csv"], "no form for results of detection"),
        (["photos", "--out", "labels"], "Give --format coco or yolo or labelme or labelstudio"),
        (["twins", "--out", "labels", "--format", "yolo"], "Files of 1.jpg and 1.png would have one name"),
        (["list.txt"], "list.txt is no text in UTF-8"),
        (["photos", "--out", "list.txt/found.json"], "list.txt is there and in the way"),
        (["photos", "--pictures", "list.txt"], "list.txt is there and in the way"),
        (["photos", "--out", "twins", "--format", "coco"], "twins is there and in the way"),
        (["photos", "--out", "/proc/none/found.json"], "/proc cannot be written"),
        (["photos", "--classes", ","], "the model has no such"),
        (["photos", "--frames", "3"], "--frames is for videos"),
        ([""], "There is no "),
    ],
)
def test_what_cannot_be_done_gets_one_message_and_writes_nothing(predict, photos, tmp_path, options, said, capsys):
    (tmp_path / "twins").mkdir()
    (tmp_path / "list.txt").write_bytes(b"\xff\xfe\x00")
    for name in ("1.jpg", "1.png"):
        Image.new("RGB", (64, 48)).save(tmp_path / "twins" / name)
    before = files(tmp_path)
    assert predict(*options) == 2
    printed = capsys.readouterr().err
    assert said in printed and printed.count("\n") == 1
    assert files(tmp_path) == before


def test_the_command_with_a_trained_detector_and_a_segmentor(photos, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mmdet")
    from tests.predictors import GROUND, write_run

    monkeypatch.chdir(tmp_path)
    run = write_run(tmp_path / "detector", "detector")
    assert command([str(run / "run.py"), str(run / "weights.pth"), "photos", "--score", "0", "--out", "f.json"]) == 0
    results = json.loads((tmp_path / "f.json").read_text())
    assert results and set(results[0]) == {"image_id", "category_id", "bbox", "score", "segmentation"}
    run = write_run(tmp_path / "segmentor", "segmentor", GROUND, dict(mask_values=[3, 7, 9]))
    assert command([str(run), "photos", "--out", "masks", "--batch", "2"]) == 0
    assert files(tmp_path / "masks") == ["1.png", "deep/2.png"]
    mask = np.asarray(Image.open(tmp_path / "masks" / "1.png"))
    assert mask.shape == (48, 64) and set(np.unique(mask)) <= {3, 7, 9}


def write_video(path, frames=7, size=(64, 48)):
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), 10.0, size)
    for i in range(frames):
        film.write(np.full((*size[::-1], 3), 30 * i, np.uint8))
    film.release()


def test_a_video_becomes_a_video_and_results_of_its_frames(predict, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    write_video(tmp_path / "clip.mp4")
    assert predict("clip.mp4", "--batch", "3", "--out", "found.json", "--frames", "5") == 0
    film = cv2.VideoCapture(str(tmp_path / "predictions" / "clip.mp4"))
    assert film.get(cv2.CAP_PROP_FPS) == 10 and film.get(cv2.CAP_PROP_FRAME_COUNT) == 5
    assert film.get(cv2.CAP_PROP_FRAME_WIDTH) == 640
    images = json.loads((tmp_path / "found.images.json").read_text())["images"]
    assert [image["file_name"] for image in images] == [f"clip/{i:06d}.png" for i in range(1, 6)]
    assert files(tmp_path / "predictions") == ["clip.mp4"]
    assert "5 images, 5 objects" in capsys.readouterr().out


def test_a_webcam_ends_with_an_interrupt_and_keeps_what_it_saw(predict, tmp_path, monkeypatch):
    cv2 = pytest.importorskip("cv2")

    class Camera:
        count = 0

        def __init__(self, number):
            assert number == 0

        def read(self):
            Camera.count += 1
            if Camera.count > 4:
                raise KeyboardInterrupt
            return True, np.zeros((48, 64, 3), np.uint8)

        def get(self, what):
            return -1.0 if what == cv2.CAP_PROP_FRAME_COUNT else 30.0

        def release(self):
            pass

    monkeypatch.setattr(cv2, "VideoCapture", Camera)
    assert predict("0", "--out", "labels", "--format", "yolo") == 0
    assert files(tmp_path / "labels") == ["classes.txt", *(f"webcam0/{i:06d}.txt" for i in range(1, 5))]
    assert files(tmp_path / "predictions") == ["webcam0.mp4"]


def test_names_that_are_no_text_are_kept(predict, photos, tmp_path):
    name = os.fsdecode(b"\xff.png")
    Image.new("RGB", (64, 48)).save(photos / name)
    for form, out in (("labelstudio", "tasks.json"), ("labelme", "labels"), ("coco", "found.json")):
        assert predict(photos / name, "--format", form, "--out", out) == 0
    assert json.loads((tmp_path / "tasks.json").read_text())[0]["data"]["image"].endswith("%FF.png")
    assert json.loads((tmp_path / "found.images.json").read_text())["images"][0]["file_name"] == name
    assert files(tmp_path / "predictions") == [name]


def test_an_interrupt_of_the_network_keeps_what_a_webcam_or_a_video_showed(predict, tmp_path, monkeypatch):
    write_video(tmp_path / "clip.mp4", frames=9)
    answer, calls = Boxes.__call__, []

    def interrupted(model, images):
        calls.append(images)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return answer(model, images)

    monkeypatch.setattr(Boxes, "__call__", interrupted)
    assert predict("clip.mp4", "--out", "found.json") == 0
    assert len(json.loads((tmp_path / "found.json").read_text())) == 5
    assert files(tmp_path / "predictions") == ["clip.mp4"]


def test_videos_that_cannot_be_used_are_refused(predict, tmp_path, capsys):
    write_video(tmp_path / "clip.mp4")
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    for options, said in (
        (["nothing.mp4"], "There is no video nothing.mp4"),
        (["broken.mp4"], "Video broken.mp4 cannot be read"),
        (["clip.mp4", "--pictures", "."], "would be overwritten"),
        (["clip.mp4", "--out", "l", "--format", "labelme"], "--format labelme is for images"),
    ):
        assert predict(*options) == 2
        assert said in capsys.readouterr().err
    assert files(tmp_path) == ["broken.mp4", "clip.mp4"]


def test_a_video_that_breaks_off_is_told(predict, tmp_path, capsys):
    cv2 = pytest.importorskip("cv2")
    film = cv2.VideoWriter(str(tmp_path / "clip.avi"), cv2.VideoWriter_fourcc(*"MJPG"), 10.0, (64, 48))
    for i in range(20):
        film.write(np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8))
    film.release()
    assert predict("clip.avi") == 0 and not capsys.readouterr().err
    content = (tmp_path / "clip.avi").read_bytes()
    (tmp_path / "clip.avi").write_bytes(content[: len(content) // 2])
    assert predict("clip.avi") == 1
    assert "clip.avi breaks off: it has 20 frames" in capsys.readouterr().err
    assert predict("clip.avi", "--frames", "3") == 0


def test_help_and_mistakes_need_no_model(capsys):
    for arguments in (["--help"], ["a", "b", "c", "d"], ["a", "b", "--batch", "0"], ["a", "b", "--frames", "0"], ["a"]):
        with pytest.raises(SystemExit) as stop:
            command(arguments)
        assert stop.value.code == (0 if arguments == ["--help"] else 2)
