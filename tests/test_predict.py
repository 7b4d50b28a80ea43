"""What predict reads, writes and draws: results whose content is known."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image, ImageDraw

from maxvit_dense.errors import InputError
from maxvit_dense.predict import draw, write
from maxvit_dense.predict.images import Item, find_images, read_image
from maxvit_dense.predict.results import cut, pieces, select
from tests.detections import CLASSES, found

# What a source names.


def test_a_folder_keeps_its_subfolders_and_a_list_its_distinct_parts(tmp_path):
    for name in ("a/1.jpg", "a/b/1.jpg", "a/notes.md", "c/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [item.name for item in find_images(str(tmp_path))] == ["a/1.jpg", "a/b/1.jpg", "c/1.png"]
    assert [item.name for item in find_images(str(tmp_path), [tmp_path / "a"])] == ["c/1.png"]
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfa/b/1.jpg\r\n\r\na/1.jpg\r\na/./1.jpg\r\na/1.jpg")
    assert [item.name for item in find_images(str(tmp_path / "list.txt"))] == ["b/1.jpg", "1.jpg"]
    assert [item.name for item in find_images(str(tmp_path / "a" / "*.jpg"))] == ["1.jpg"]
    assert find_images(str(tmp_path / "c" / "1.png")) == [Item("1.png", tmp_path / "c" / "1.png")]


@pytest.mark.parametrize("source", ["nothing", "empty", "empty/*.jpg"])
def test_a_source_without_images_is_refused(tmp_path, source):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="There is no|names no image"):
        find_images(str(tmp_path / source))


def test_images_are_read_as_opencv_reads_them(tmp_path):
    cv2 = pytest.importorskip("cv2")
    noise = np.random.default_rng(0).integers(0, 65536, (20, 30, 4))
    turned = Image.Exif()
    turned[274] = 6
    Image.fromarray(noise[..., :3].astype(np.uint8)).save(tmp_path / "turned.jpg", exif=turned)
    Image.fromarray(noise.astype(np.uint8)).save(tmp_path / "transparent.png")
    Image.fromarray(noise[..., 0].astype(np.uint16)).save(tmp_path / "deep.png")
    Image.fromarray(noise[..., 0].astype(np.uint8)).save(tmp_path / "grey.tif")
    for path in sorted(tmp_path.iterdir()):
        np.testing.assert_array_equal(read_image(path), cv2.imread(str(path), cv2.IMREAD_COLOR)[..., ::-1], path.name)


# What counts, and what pictures show of it.


def test_objects_of_a_score_and_a_class_count_surest_first():
    result = select(found(np.eye(4), [0.2, 0.6, 0.9, 0.5], [0, 1, 2, 1]), 0.5, [1])
    assert result["scores"].tolist() == [0.6, 0.5] and result["boxes"].tolist() == [[0, 1, 0, 0], [0, 0, 0, 1]]


def test_pictures_show_one_guess_an_object():
    boxes = [[10, 10, 50, 50], [12, 10, 52, 50], [20, 20, 30, 30], [20, 20, 30, 30], [60, 10, 90, 50]]
    shown = draw.best_of_each(found(boxes, [0.9, 0.8, 0.7, 0.6, 0.5], [0, 1, 0, 1, 0]))
    # the second is a guess at the first, the third lies inside one of its own class, the fourth in another's
    assert shown["scores"].tolist() == [0.9, 0.6, 0.5]


def test_masks_tell_guesses_at_one_object_that_boxes_do_not():
    result = found([[0, 0, 40, 40], [0, 0, 19, 40], [24, 0, 40, 40]], [0.9, 0.8, 0.7], [0, 1, 2])
    result["masks"] = np.zeros((3, 40, 40), bool)
    result["masks"][0, :, :20] = result["masks"][1, :, :19] = result["masks"][2, :, 24:] = True
    assert draw.best_of_each(result)["labels"].tolist() == [0, 2]


def test_labels_do_not_cover_each_other(monkeypatch):
    tags, texts = [], []
    rectangle = lambda pen, place, fill=None, **_: tags.append(place) if fill else None  # noqa: E731
    monkeypatch.setattr(ImageDraw.ImageDraw, "rectangle", rectangle)
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda pen, place, text, **_: texts.append(text))
    boxes = [[100, 100, 300, 300], [110, 20, 310, 110], [105, 95, 180, 170], [400, 300, 640, 480]]
    draw.draw(np.zeros((480, 640, 3), np.uint8), found(boxes, [0.9, 0.8, 0.7, 0.6], [0, 1, 2, 0]), CLASSES)
    assert texts == ["ant 0.90", "bee 0.80", "cat 0.70", "ant 0.60"] and len(tags) == 4
    for i, (x1, y1, x2, y2) in enumerate(tags):
        assert 0 <= x1 < x2 <= 640 and 0 <= y1 < y2 <= 480
        assert all(x2 <= left or right <= x1 or y2 <= top or bottom <= y1 for left, top, right, bottom in tags[:i])


@pytest.mark.parametrize("side", [48, 640, 3000])
def test_lines_and_text_fit_the_picture(side):
    image = np.zeros((side, side, 3), np.uint8)
    result = found([[side * 0.3, side * 0.3, side * 0.7, side * 0.7]], [0.9], [1])
    picture = draw.draw(image, result, CLASSES, [(0, 0, 0), (255, 255, 255), (0, 0, 0)])
    assert max(picture.size) >= 600
    row = np.asarray(picture)[picture.height // 2, :, 0] > 128  # crosses the box's two sides
    assert 0.002 < row.mean() < 0.02
    column = np.asarray(picture)[:, round(picture.width * 0.31), 0] > 128  # and its label
    assert 0.01 < column.mean() < 0.09


def test_pictures_of_label_maps_and_classes_keep_their_size():
    image = np.full((480, 640, 3), 100, np.uint8)
    labels = np.zeros((480, 640), np.uint8)
    labels[:, 320:] = 2
    picture = np.asarray(draw.draw(image, dict(labels=labels), CLASSES, [(255, 0, 0), (0, 0, 0), (0, 0, 255)]))
    assert picture.shape == image.shape
    assert picture[0, 0].argmax() == 0 and picture[0, -1].argmax() == 2
    drawn = np.asarray(draw.draw(image, dict(scores=np.array([0.1, 0.7, 0.2])), CLASSES))
    assert np.array_equal(drawn[0], image[0]) and not np.array_equal(drawn[-1], image[-1])


# Each format, through a reader that is not ours.

SIZE = (40, 60)  # height, width
BOXES = [[5, 4, 25, 33], [30, 0, 60, 40], [0, 10, 8, 20]]


def result_of_three():
    return found(BOXES, [0.9, 0.75, 0.5], [1, 0, 1], SIZE)


def test_coco_results_are_read_by_pycocotools(tmp_path):
    coco = pytest.importorskip("pycocotools.coco")
    writer = write.CocoResults(tmp_path / "found.json", CLASSES)
    writer.add(Item("a/1.jpg", tmp_path / "a/1.jpg"), SIZE, found([], [], [], SIZE))
    writer.add(Item("a/2.jpg", tmp_path / "a/2.jpg"), SIZE, result_of_three())
    writer.close()
    reader = coco.COCO(str(tmp_path / "found.images.json")).loadRes(str(tmp_path / "found.json"))
    assert {image["file_name"] for image in reader.loadImgs(reader.getImgIds())} == {"a/1.jpg", "a/2.jpg"}
    read = reader.loadAnns(reader.getAnnIds(imgIds=[2]))
    assert len(read) == len(reader.dataset["annotations"]) == 3
    for i, annotation in enumerate(read):
        x1, y1, x2, y2 = BOXES[i]
        assert annotation["bbox"] == [x1, y1, x2 - x1, y2 - y1]
        name = reader.loadCats(annotation["category_id"])[0]["name"]
        assert (name, annotation["score"]) == [("bee", 0.9), ("ant", 0.75), ("bee", 0.5)][i]
        np.testing.assert_array_equal(reader.annToMask(annotation), result_of_three()["masks"][i])


@pytest.mark.parametrize("fill", ["noise", "all", "none", "columns"])
def test_run_lengths_are_pycocotools_own(fill):
    coco = pytest.importorskip("pycocotools.mask")
    mask = dict(
        noise=np.random.default_rng(1).random(SIZE) < 0.5,
        all=np.ones(SIZE, bool),
        none=np.zeros(SIZE, bool),
        columns=np.repeat([[False, True] * 30], 40, axis=0),
    )[fill]
    wanted = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert write.encode(cut(mask), SIZE)["counts"] == wanted["counts"].decode()


def test_yolo_text_gives_the_boxes_back(tmp_path):
    writer = write.YoloText(tmp_path, CLASSES)
    item = Item("deep/1.jpg", tmp_path / "1.jpg")
    writer.add(item, SIZE, result_of_three())
    writer.close()
    rows = np.loadtxt(tmp_path / "deep" / "1.txt", ndmin=2)
    names = (tmp_path / "classes.txt").read_text().split()
    assert [names[int(label)] for label in rows[:, 0]] == ["bee", "ant", "bee"]
    middle, side = rows[:, 1:3] * SIZE[::-1], rows[:, 3:] * SIZE[::-1]
    np.testing.assert_allclose(np.hstack([middle - side / 2, middle + side / 2]), BOXES, atol=1e-3)


def test_labelme_files_name_their_image_and_outline_the_masks(tmp_path):
    cv2 = pytest.importorskip("cv2")
    (tmp_path / "photos").mkdir()
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "photos" / "1.jpg")
    result = found(BOXES, [0.9, 0.75, 0.5], [1, 0, 1])
    result["masks"] = np.zeros((3, *SIZE), bool)
    for mask, (x1, y1, x2, y2) in zip(result["masks"], BOXES, strict=True):
        mask[y1:y2, x1:x2] = True
    writer = write.Labelme(tmp_path / "labels", CLASSES)
    writer.add(Item("1.jpg", tmp_path / "photos" / "1.jpg"), SIZE, result)
    content = json.loads((tmp_path / "labels" / "1.json").read_text())
    image = Image.open(tmp_path / "labels" / content["imagePath"])
    assert image.size == (content["imageWidth"], content["imageHeight"])
    assert [shape["label"] for shape in content["shapes"]] == ["bee", "ant", "bee"]
    for shape, mask in zip(content["shapes"], result["masks"], strict=True):
        drawn = np.zeros(SIZE, np.uint8)
        cv2.fillPoly(drawn, [(np.array(shape["points"]) - 0.5).astype(np.int32)], 1)
        np.testing.assert_array_equal(drawn.astype(bool), mask)


def test_labelme_files_have_rectangles_without_masks(tmp_path):
    writer = write.Labelme(tmp_path, CLASSES)
    writer.add(Item("1.jpg", tmp_path / "1.jpg"), SIZE, found(BOXES, [0.9, 0.75, 0.5], [1, 0, 1]))
    shapes = json.loads((tmp_path / "1.json").read_text())["shapes"]
    assert {shape["shape_type"] for shape in shapes} == {"rectangle"}
    assert [np.ravel(shape["points"]).tolist() for shape in shapes] == BOXES


def test_label_studio_gets_outlines_in_percent_and_names_that_its_interface_knows(tmp_path):
    cv2 = pytest.importorskip("cv2")
    boxed, outlined = found(BOXES, [0.9, 0.75, 0.5], [1, 0, 1]), result_of_three()
    outlined["masks"][:] = False
    for mask, (x1, y1, x2, y2) in zip(outlined["masks"], BOXES, strict=True):
        mask[y1:y2, x1:x2] = True
    writer = write.LabelStudio(tmp_path / "tasks.json", ('a "b" & c', "bee"))
    for name, result in (("deep/a b.jpg", boxed), ("2.jpg", outlined)):
        writer.add(Item(name, tmp_path / name), SIZE, result)
    writer.close()
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    assert [task["data"]["image"].partition("?d=")[2] for task in tasks] == ["deep/a%20b.jpg", "2.jpg"]
    view = ElementTree.parse(tmp_path / "tasks.xml").getroot()
    known = {tool.get("name"): [label.get("value") for label in tool] for tool in view if tool.get("toName")}
    scale = np.array(SIZE[::-1]) / 100
    for task in tasks:
        regions = task["predictions"][0]["result"]
        assert [region["score"] for region in regions] == [0.9, 0.75, 0.5]
        for region, box, mask in zip(regions, BOXES, outlined["masks"], strict=True):
            kind, value = region["type"], region["value"]
            assert value[kind][0] in known[region["from_name"]] and region["to_name"] == "image"
            if kind == "rectanglelabels":
                corner = np.array([value["x"], value["y"]])
                side = np.array([value["width"], value["height"]])
                np.testing.assert_allclose(np.concatenate([corner, corner + side]) * np.tile(scale, 2), box)
                continue
            drawn = np.zeros(SIZE, np.uint8)
            cv2.fillPoly(drawn, [np.rint(np.array(value["points"]) * scale - 0.5).astype(np.int32)], 1)
            np.testing.assert_array_equal(drawn.astype(bool), mask)
    assert {region["type"] for task in tasks for region in task["predictions"][0]["result"]} == set(known)


def test_masks_hold_the_values_of_the_training_data(tmp_path):
    labels = np.random.default_rng(0).integers(0, 3, SIZE).astype(np.uint8)
    write.Masks(tmp_path, CLASSES, [7, 0, 200]).add(Item("a/1.jpg", tmp_path / "1.jpg"), SIZE, dict(labels=labels))
    image = Image.open(tmp_path / "a" / "1.png")
    assert image.mode == "L"
    np.testing.assert_array_equal(np.asarray(image), np.array([7, 0, 200])[labels])


def test_a_table_holds_the_likeliest_classes(tmp_path):
    writer = write.TopClasses(tmp_path / "t.csv", ("a", "b,c", "d", "e", "f", "g"))
    writer.add(Item("1.jpg", tmp_path / "1.jpg"), SIZE, dict(scores=np.array([0.1, 0.5, 0.02, 0.2, 0.15, 0.03])))
    writer.close()
    with open(tmp_path / "t.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["rank"] for row in rows] == list("12345") and [row["class"] for row in rows] == ["b,c", *"efag"]
    assert [float(row["score"]) for row in rows] == [0.5, 0.2, 0.15, 0.1, 0.03]


def test_pieces_are_the_masks():
    result = result_of_three()
    for piece, mask in zip(pieces(result), result["masks"], strict=True):
        whole = np.zeros(SIZE, bool)
        whole[piece.top : piece.top + piece.mask.shape[0], piece.left : piece.left + piece.mask.shape[1]] = piece.mask
        np.testing.assert_array_equal(whole, mask)
