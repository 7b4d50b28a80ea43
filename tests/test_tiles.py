"""Images in tiles: what is put together is what the whole image gives, for predictors whose answer is known."""

import importlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maxvit_dense.errors import InputError
from maxvit_dense.predict import tiles
from maxvit_dense.predict.results import pieces
from maxvit_dense.predict.tiles import LargeImage, cut_tiles, predict_tiles, shrink

cv2 = pytest.importorskip("cv2")


class Blobs:
    """Finds each connected patch of a colour; its class is the colour's channel."""

    task, classes = "detection", ("red", "green", "blue")

    def __call__(self, images):
        return [self.find(image) for image in images]

    def find(self, image):
        boxes, labels, masks = [], [], []
        for channel in range(3):
            count, map_, stats, _ = cv2.connectedComponentsWithStats((image[..., channel] > 128).astype(np.uint8))
            for i in range(1, count):
                x, y, width, height, _ = stats[i]
                boxes.append([x, y, x + width, y + height])
                labels.append(channel)
                masks.append(map_ == i)
        scores = np.full(len(labels), 0.9, np.float32)
        boxes = np.array(boxes, np.float32).reshape(-1, 4)
        return dict(boxes=boxes, scores=scores, labels=np.array(labels, int), masks=np.array(masks))


class Values:
    """Labels each pixel by its value, but is wrong within ``margin`` pixels of an image's border."""

    task, classes = "segmentation", tuple(map(str, range(256)))

    def __init__(self, margin=0):
        self.margin = margin

    def __call__(self, images):
        return [dict(labels=self.label(image)) for image in images]

    def label(self, image):
        labels = np.full(image.shape[:2], 255, np.uint8)
        inside = tuple(slice(self.margin, side - self.margin) for side in labels.shape)
        labels[inside] = image[..., 0][inside]
        return labels


def saved(array, path):
    Image.fromarray(array).save(path)
    return LargeImage(path)


def whole_mask(piece, size):
    mask = np.zeros(size, bool)
    mask[piece.top : piece.top + piece.mask.shape[0], piece.left : piece.left + piece.mask.shape[1]] = piece.mask
    return mask


@given(st.integers(1, 300), st.integers(1, 300), st.integers(20, 120), st.data())
def test_tiles_cover_an_image_and_share_the_overlap(height, width, tile, data):
    overlap = data.draw(st.integers(0, tile - 1))
    covered = np.zeros((height, width), int)
    regions = cut_tiles((height, width), tile, overlap)
    for left, top, right, bottom in regions:
        assert right - left == min(tile, width) and bottom - top == min(tile, height)
        covered[top:bottom, left:right] += 1
    assert covered.min() == 1 if overlap == 0 and (height, width) <= (tile, tile) else covered.min() >= 1
    columns = sorted({(r.left, r.right) for r in regions})
    assert all(a[1] - b[0] >= overlap for a, b in zip(columns, columns[1:], strict=False))


@pytest.mark.parametrize("seed", range(8))
def test_objects_across_seams_are_whole_whatever_their_size(tmp_path, seed):
    random = np.random.default_rng(seed)
    image = np.zeros((230, 310, 3), np.uint8)
    taken = np.zeros(image.shape[:2], bool)
    for _ in range(30):
        x, y = random.integers(0, 300), random.integers(0, 220)
        width, height = random.integers(6, 200) if random.random() < 0.3 else 15, random.integers(6, 60)
        place = slice(max(y - 1, 0), y + height + 1), slice(max(x - 1, 0), x + width + 1)
        if not taken[place].any():
            taken[place] = True
            cv2.rectangle(image, (int(x), int(y)), (int(x + width - 1), int(y + height - 1)), [0, 0, 0], -1)
            image[y : y + height, x : x + width, random.integers(3)] = 255
    wanted = Blobs().find(image)
    found = predict_tiles(Blobs(), saved(image, tmp_path / "i.png"), tile=100, overlap=32, batch=3)
    order, expected = (np.lexsort(r["boxes"].T[::-1]) for r in (found, wanted))
    assert len(order) == len(expected) > 8
    np.testing.assert_array_equal(found["boxes"][order], wanted["boxes"][expected])
    np.testing.assert_array_equal(found["labels"][order], wanted["labels"][expected])
    for i, j in zip(order, expected, strict=True):
        np.testing.assert_array_equal(whole_mask(found["pieces"][i], (230, 310)), wanted["masks"][j])


def test_no_object_at_all(tmp_path):
    found = predict_tiles(Blobs(), saved(np.zeros((90, 50, 3), np.uint8), tmp_path / "i.png"), tile=40, overlap=8)
    assert found["boxes"].shape == (0, 4) and found["scores"].shape == found["labels"].shape == (0,)


def test_labels_are_of_the_tile_that_sees_most_around_them(tmp_path):
    image = np.repeat(np.random.default_rng(0).integers(0, 200, (230, 310, 1), dtype=np.uint8), 3, axis=2)
    found = predict_tiles(Values(margin=15), saved(image, tmp_path / "i.png"), tile=100, overlap=32)["labels"]
    np.testing.assert_array_equal(found[15:-15, 15:-15], image[15:-15, 15:-15, 0])


def test_a_picture_shows_every_nth_pixel(tmp_path):
    image = np.zeros((90, 120, 3), np.uint8)
    image[20:61, 31:83, 0] = np.random.default_rng(0).integers(0, 256, (41, 52))
    result = predict_tiles(Blobs(), saved(image, tmp_path / "i.png"), tile=60, overlap=20)
    small, whole = shrink(result, 3), np.any([whole_mask(p, (90, 120)) for p in pieces(result)], axis=0)
    assert len(small["boxes"]) == len(result["boxes"]) > 2
    np.testing.assert_array_equal(small["boxes"] * 3, result["boxes"])
    thinned = np.any([whole_mask(p, (30, 40)) for p in pieces(small)], axis=0)
    np.testing.assert_array_equal(thinned, whole[::3, ::3])


@pytest.fixture(params=["Pillow", "rasterio"])
def reader(request, monkeypatch):
    if request.param == "Pillow":
        monkeypatch.setattr(tiles, "rasterio", None)
    else:
        pytest.importorskip("rasterio", reason="needs rasterio")


@pytest.mark.parametrize("name", ["i.png", "i.tif", "grey.png", "deep.png"])
def test_parts_are_those_of_the_whole(reader, tmp_path, name):
    noise = np.random.default_rng(0).integers(0, 65536, (70, 90, 3))
    array = dict(grey=noise[..., 0].astype(np.uint8), deep=noise[..., 0].astype(np.uint16))
    Image.fromarray(array.get(name[:4], noise.astype(np.uint8))).save(tmp_path / name)
    whole = cv2.imread(str(tmp_path / name), cv2.IMREAD_COLOR)[..., ::-1]
    image = LargeImage(tmp_path / name)
    assert image.size == (70, 90)
    np.testing.assert_array_equal(image.read(tiles.Region(11, 5, 60, 70)), whole[5:70, 11:60])
    assert image.overview(4).shape == (18, 23, 3)
    image.close()


def test_broken_images_are_named(reader, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no image")
    with pytest.raises(InputError, match="broken.png cannot be read"):
        LargeImage(tmp_path / "broken.png")


def test_the_command_cuts_images_and_goes_on(tmp_path, monkeypatch, capsys):
    command = importlib.import_module("tools.predict").main
    monkeypatch.setattr("maxvit_dense.runtime.load", lambda path, runtime, score: Blobs())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "maps").mkdir()
    image = np.zeros((200, 300, 3), np.uint8)
    image[50:150, 20:280, 1] = 255
    saved(image, tmp_path / "maps" / "1.png")
    (tmp_path / "maps" / "2.png").write_bytes(b"no image")
    assert command(["blobs.onnx", "maps", "--tile", "100", "--overlap", "20", "--out", "found.json"]) == 1
    results = json.loads((tmp_path / "found.json").read_text())
    assert [entry["bbox"] for entry in results] == [[20, 50, 260, 100]]
    printed = capsys.readouterr()
    assert "1 images, 1 objects, 1 could not be read" in printed.out and "tiles/s" in printed.out
    assert "2.png cannot be read" in printed.err
    assert Image.open(tmp_path / "predictions" / "1.png").size == (600, 400)
    with pytest.raises(SystemExit):
        command(["blobs.onnx", "maps", "--tile", "100", "--overlap", "100"])
