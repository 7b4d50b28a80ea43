"""A sound COCO file, changed in every way that a file can be wrong: each is checked, or refused in words."""

import copy
import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("mmengine")

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking.dataset_check import check_dataset  # noqa: E402
from maxvit_dense.openmmlab.data.checking.dataset_report import report_text, write_sheet  # noqa: E402
from maxvit_dense.openmmlab.data.choice import EVERYTHING  # noqa: E402
from maxvit_dense.openmmlab.data.formats import convert, find  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.coco_file import keep_annotations  # noqa: E402

SPLITS = ("train", "val")
ODD = [
    *(None, True, 0, -1, 10**400, -(10**400), 1e308, 0.5, math.nan, math.inf, "", "1", "\ud800", "\0", "..\\a.jpg"),
    *([], {}, [[]], [1, 2], [[1, 2]], [[1, 2, 3]], [[1, 2, 3, 4, 5, "6"]], [[8, 8, 40, 8, 40, math.nan]]),
    *([0, 0, 10**400, 5], [0, 0, -5, -5], [500, 500, 5, 5], ["a", "b", "c", "d"], {"size": [1, 1], "counts": "x"}),
    *({"size": [48, 64], "counts": [5, -5, 3072]}, {"size": [48, 64], "counts": "\ud83d"}, {"counts": []}),
]


def sound():
    polygon = [8, 8, 40, 8, 40, 24, 8, 24]
    entry = dict(bbox=[8, 8, 32, 16], area=512, iscrowd=0, segmentation=[polygon])
    content = dict(
        images=[dict(id=i, file_name=f"{i}.jpg", width=64, height=48) for i in range(3)],
        annotations=[dict(entry, id=i, image_id=i, category_id=i % 2 + 1) for i in range(3)],
        categories=[dict(id=i, name=name) for i, name in enumerate(("cat", "dog"), 1)],
    )
    return json.loads(json.dumps(content))  # no two entries share a list


def places(node, path=()):
    """The path of everything in a file's content."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from places(value, (*path, key))


@st.composite
def mutated(draw):
    content = sound()
    for _ in range(draw(st.integers(1, 3))):
        *parents, last = draw(st.sampled_from(sorted(places(content), key=str) or [("images",)]))
        holder = content
        for key in parents:
            holder = holder[key]
        if last not in (holder if isinstance(holder, dict) else range(len(holder))):
            continue
        value = holder[last]
        kind = draw(st.sampled_from(["drop", "retype", "swap", "scale", "duplicate", "nest"]))
        if kind == "drop":
            del holder[last]
        elif kind == "retype":
            holder[last] = copy.deepcopy(draw(st.sampled_from(ODD)))
        elif kind == "swap":
            other = draw(st.sampled_from(sorted(holder, key=str) if isinstance(holder, dict) else range(len(holder))))
            holder[last], holder[other] = holder[other], holder[last]
        elif kind == "scale" and type(value) in (int, float):
            holder[last] = value * draw(st.sampled_from([-1, 0, 1e-9, 10, 1e9]))
        elif kind == "duplicate" and isinstance(holder, list):
            holder.append(copy.deepcopy(value))
        else:
            holder[last] = [value]
    return content


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("coco")
    for split in SPLITS:
        (root / f"{split}2017").mkdir()
        for index in range(3):
            Image.new("RGB", (64, 48), "white").save(root / f"{split}2017" / f"{index}.jpg")
    (root / "annotations").mkdir()
    return root


def write(root, content):
    for split in SPLITS:
        (root / "annotations" / f"instances_{split}2017.json").write_text(json.dumps(content))


def box_of(entry):
    """An object's own box, or that around its polygons, which stands for a missing one."""
    if entry.get("bbox"):
        return entry["bbox"]
    xs, ys = (np.concatenate([polygon[i::2] for polygon in entry["segmentation"]]) for i in (0, 1))
    return xs.min(), ys.min(), np.ptp(xs), np.ptp(ys)


def usable(content):
    """By mmdet's own words: an object that training takes, and that is not passed over as a crowd."""
    sizes = {image["id"]: image for image in content["images"]}
    for entry in content["annotations"]:
        x, y, width, height = box_of(entry)
        image = sizes[entry["image_id"]]
        inside = min(x + width, image["width"]) > max(x, 0) and min(y + height, image["height"]) > max(y, 0)
        ignored = entry.get("iscrowd") or entry.get("ignore")
        if inside and min(abs(width), abs(height)) >= 1 and not ignored and min(image["width"], image["height"]) >= 32:
            return True
    return False


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=mutated())
def test_any_mutation_is_checked_converted_and_drawn_or_refused_in_words(content, folder, tmp_path_factory):
    write(folder, content)
    try:
        report = check_dataset(folder, decode=False)
    except InputError:
        keep_annotations()
        return
    report_text(report).encode()
    write_sheet(report, folder / "sheet.png", 1)
    if not report.fails:
        assert usable(content)
    try:
        source = find.read_boxes(folder, "COCO", EVERYTHING)
        convert.write_coco(source, folder, folder.with_name("out"))
    except InputError as error:
        str(error).encode()
    finally:
        keep_annotations()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=mutated())
def test_what_passes_the_check_is_read_by_mmdet(content, folder):
    pytest.importorskip("mmdet")
    from maxvit_dense.openmmlab.data.coco_dataset import CocoFileDataset, CocoFileMetric

    write(folder, content)
    try:
        passes = not check_dataset(folder, decode=False).fails
        classes = tuple(category["name"] for category in content["categories"]) if passes else ()
    except InputError:
        passes = False
    keep_annotations()
    if passes:
        file = str(folder / "annotations" / "instances_train2017.json")
        data = CocoFileDataset(
            ann_file=file,
            data_prefix=dict(img=str(folder / "train2017")),
            metainfo=dict(classes=classes),
            filter_cfg=dict(filter_empty_gt=True, min_size=32),
            pipeline=[],
        )
        kept = [item for index in range(len(data)) for item in data[index]["instances"] if not item["ignore_flag"]]
        assert kept
        CocoFileMetric(ann_file=file)
