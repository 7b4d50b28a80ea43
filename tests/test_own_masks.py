"""One's own images and masks, through the command lines: from a directory of files to a metric."""

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("mmseg")

from mmengine.config import Config, ConfigDict  # noqa: E402
from mmengine.registry import DATASETS  # noqa: E402
from mmseg.datasets.transforms import LoadAnnotations  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.checking import checks, pixel_check
from maxvit_dense.openmmlab.data.choice import Choice
from maxvit_dense.openmmlab.data.configure.heads import size_heads  # noqa: E402
from maxvit_dense.openmmlab.data.layouts import mask_files
from maxvit_dense.openmmlab.data.layouts.mask_folders import MaskFolder  # noqa: E402
from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.sample_data import SEMANTIC_CLASSES, write_sample_data  # noqa: E402
from tests.commands import refused  # noqa: E402
from tests.spoil import cut, first, turned  # noqa: E402

train = importlib.import_module("tools.train").main
evaluate = importlib.import_module("tools.test").main
check = importlib.import_module("tools.check_dataset").main

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("background", "bolt", "nut")
# The real config with a small network and small images; its classes are ADE20K's 150.
CONFIG = f"""
_base_ = "{ROOT}/configs/upernet_maxvit_t_ade20k.py"
model = dict(
    data_preprocessor=dict(size=(32, 32)),
    backbone=dict(arch="mini", drop_path_rate=0.0, init_cfg=None),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=8, pool_scales=(1, 2)),
    auxiliary_head=dict(in_channels=128, channels=8),
)
pack = dict(type="PackSegInputs")
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    dict(type="RandomCrop", crop_size=(32, 32)),
    pack,
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=(48, 32), keep_ratio=True),
    dict(type="LoadAnnotations", reduce_zero_label=True),
    pack,
]
workers = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline), **workers)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline), **workers)
test_dataloader = val_dataloader
train_cfg = dict(max_iters=2, val_interval=2)
param_scheduler = []
default_hooks = dict(checkpoint=dict(interval=2))
"""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """Its bases written out, since resolving them takes a second."""
    folder = tmp_path_factory.mktemp("configs")
    (folder / "short.py").write_text(CONFIG)
    Config.fromfile(folder / "short.py").dump(folder / "seg.py")
    return str(folder / "seg.py")


def write_masks(root, masks="masks", values=(0, 1, 2), suffix=".jpg", split=("train", "val"), count=3):
    """Images of a side of 40 and 48 pixels, with masks of stripes of each value."""
    generator = np.random.default_rng(0)
    for name in split:
        for kind in ("images", masks):
            (root / kind / name).mkdir(parents=True)
        for index in range(count):
            labels = np.repeat(np.array(values, np.uint8), 48 // len(values))[None].repeat(40, 0)
            pixels = generator.integers(0, 100, (*labels.shape, 3), np.uint8) + labels[..., None] % 3 * 70
            Image.fromarray(pixels.astype(np.uint8)).save(root / "images" / name / f"{index}{suffix}")
            Image.fromarray(labels).save(root / masks / name / f"{index}.png")
    return root


@pytest.fixture
def own(tmp_path):
    """A folder of three classes, with their names."""
    root = write_masks(tmp_path / "own")
    (root / "classes.txt").write_text("\n".join(NAMES) + "\n")
    return root


def prepared(config, root, tmp_path, **options):
    return prepare.prepare_training(config, data_root=str(root), work_dir=str(tmp_path / "work"), **options)


def loaded(cfg, index=0, phase="train"):
    """Labels (H, W) of an image of a data set as mmseg's own loader makes them."""
    dataset = ConfigDict(cfg[f"{phase}_dataloader"].dataset, pipeline=[])
    record = DATASETS.build(dataset).load_data_list()[index]
    return LoadAnnotations()(dict(record))["gt_seg_map"]


# From files to a metric.


def test_three_classes_from_files_to_a_metric(config, own, tmp_path, capsys):
    work, out = tmp_path / "work", tmp_path / "r.json"
    assert check([str(own), "--sheet", str(tmp_path / "sheet.png")]) == 0
    assert train([config, "--data-root", str(own), "--work-dir", str(work)]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "in place of the config's" in line]
    assert len(said) == 1
    assert "150: 0 background, 1 bolt, 2 nut; in masks/ 0 is a class and 255 is ignored." in said[0]
    assert said[0].endswith("Sized by them: auxiliary_head, decode_head.")
    checkpoint = str(work / "iter_2.pth")
    for arguments in ([str(work / "seg.py"), checkpoint], [config, checkpoint, "--data-root", str(own)]):
        pictures = tmp_path / f"pictures{len(arguments)}"
        options = ["--work-dir", str(tmp_path / "test"), "--out", str(out), "--show-dir", str(pictures)]
        assert evaluate([*arguments, *options]) == 0
        assert len(list(pictures.iterdir())) == 3
        assert 0 <= json.loads(out.read_text())["metrics"]["mIoU"] <= 100
    dumped = Config.fromfile(work / "seg.py")
    for loader in (dumped.train_dataloader, dumped.val_dataloader, dumped.test_dataloader):
        assert tuple(loader.dataset.metainfo.classes) == NAMES
        assert len(set(map(tuple, loader.dataset.metainfo.palette))) == 3


def test_the_drawn_sample_data_trains_with_its_own_classes(config, tmp_path, capsys):
    write_sample_data(str(tmp_path / "sample"), train=3, val=1, size=64, seed=0)
    root = tmp_path / "sample" / "ade"
    assert check([str(root)]) == 0
    assert train([config, "--data-root", str(root), "--work-dir", str(tmp_path / "work")]) == 0
    assert "in annotations/ 0 is unlabelled and 255 is ignored" in capsys.readouterr().err
    cfg = Config.fromfile(tmp_path / "work" / "seg.py")
    assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == SEMANTIC_CLASSES
    stored = np.asarray(Image.open(next((root / "ADEChallengeData2016/annotations/validation").iterdir())))
    assert np.array_equal(loaded(cfg, phase="val"), np.where(stored == 0, 255, stored.astype(int) - 1))


# Which classes, and which value is which.


def test_without_a_list_each_value_is_a_class(config, tmp_path):
    root = write_masks(tmp_path / "own", values=(0, 7, 255, 200))
    cfg = prepared(config, root, tmp_path)
    assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == ("value 0", "value 7", "value 200")
    assert cfg.model.decode_head.num_classes == cfg.model.auxiliary_head.num_classes == 3
    assert [loaded(cfg)[0, x] for x in (0, 12, 24, 36)] == [0, 1, 255, 2]


def test_values_of_both_splits_are_classes_whatever_is_evaluated(config, tmp_path):
    root = write_masks(tmp_path / "own", values=(0, 5, 9), split=("train",))
    write_masks(root, values=(0, 5), split=("val",))
    assert len(prepared(config, root, tmp_path).test_dataloader.dataset.metainfo.classes) == 3


def test_zero_is_unlabelled_in_annotations(config, tmp_path):
    root = write_masks(tmp_path / "own", masks="annotations", values=(0, 1, 2))
    cfg = prepared(config, root, tmp_path)
    assert tuple(cfg.val_dataloader.dataset.metainfo.classes) == ("value 1", "value 2")
    assert [loaded(cfg)[0, x] for x in (0, 16, 32)] == [255, 0, 1]


@pytest.mark.parametrize("given", ["in the folder", "on the command line"])
def test_a_json_object_names_any_values(given, config, tmp_path):
    root = write_masks(tmp_path / "own", values=(0, 255))
    path = (root if given == "in the folder" else tmp_path) / "classes.json"
    path.write_text('{"255": "object", "0": "background"}')
    options = {} if given == "in the folder" else dict(choice=Choice(file=str(path)))
    cfg = prepared(config, root, tmp_path, **options)
    assert tuple(cfg.train_dataloader.dataset.metainfo.classes) == ("background", "object")
    assert [loaded(cfg)[0, x] for x in (0, 24)] == [0, 1]
    assert check([str(root), *(["--classes", str(path)] if options else [])]) == 0


def test_zero_and_255_without_a_name_are_unlabelled(config, tmp_path):
    root = write_masks(tmp_path / "own", values=(0, 9, 3, 255))
    (root / "classes.json").write_text('{"3": "road", "9": "car"}')
    cfg = prepared(config, root, tmp_path)
    assert [loaded(cfg)[0, x] for x in (0, 12, 24, 36)] == [255, 1, 0, 255]
    assert check([str(root)]) == 0


def test_palette_masks_count_by_index(config, own, tmp_path):
    for path in own.glob("masks/*/*.png"):
        with Image.open(path) as opened:
            mask = Image.fromarray(np.asarray(opened), "P")
        mask.putpalette([255, 255, 255, 9, 9, 9, 200, 0, 0])
        mask.save(path)
    cfg = prepared(config, own, tmp_path)
    assert [loaded(cfg)[0, x] for x in (0, 16, 32)] == [0, 1, 2]
    assert check([str(own)]) == 0


def test_images_of_several_suffixes_and_masks_with_an_ending_are_paired(config, own, tmp_path):
    (own / "images/train/0.jpg").rename(own / "images/train/0.JPG")
    Image.open(own / "images/train/1.jpg").save(own / "images/train/1.png")
    (own / "images/train/1.jpg").unlink()
    for path in own.glob("masks/*/*.png"):
        path.rename(path.with_stem(f"{path.stem}_mask"))
    dataset = DATASETS.build(ConfigDict(prepared(config, own, tmp_path).train_dataloader.dataset, pipeline=[]))
    pairs = [(Path(r["img_path"]).name, Path(r["seg_map_path"]).name) for r in dataset.load_data_list()]
    assert pairs == [("0.JPG", "0_mask.png"), ("1.png", "1_mask.png"), ("2.jpg", "2_mask.png")]


def test_ade20k_itself_stays_as_it_is(config, tmp_path):
    root = write_masks(tmp_path / "ADEChallengeData2016", "annotations", split=("training", "validation"))
    before = Config.fromfile(config)
    for given in (root, root.parent):
        cfg = prepared(config, given, tmp_path)
        for loader, theirs in (
            (cfg.train_dataloader, before.train_dataloader),
            (cfg.val_dataloader, before.val_dataloader),
        ):
            unchanged = {k: v for k, v in loader.dataset.items() if k not in ("data_root", "pipeline")}
            assert unchanged == {k: v for k, v in theirs.dataset.items() if k in unchanged}
            assert loader.dataset.data_root == str(root)
        assert cfg.model == before.model


def test_classes_given_by_hand_stand(config, own, tmp_path):
    overrides = {"train_dataloader.dataset.metainfo.classes": ["wall"]}
    with pytest.raises(InputError, match="cannot be read|cannot be used"):  # as ADE20K, whose folders are not there
        prepared(config, own, tmp_path, overrides=overrides)


# Heads.


def test_every_kind_of_segmentation_head_is_sized():
    model = ConfigDict(
        decode_head=[
            dict(num_classes=150, out_channels=150, loss_decode=dict(class_weight=[1.0] * 150)),
            dict(num_classes=150, out_channels=256, loss_cls=dict(class_weight=[1.0] * 150 + [0.1])),
        ],
        auxiliary_head=dict(num_classes=150),
    )
    assert size_heads(model, 3, 150) == ["decode_head.0", "decode_head.1", "auxiliary_head"]
    first, second = model.decode_head
    assert first == dict(num_classes=3, out_channels=3, loss_decode=dict(class_weight=[1.0] * 3))
    assert second == dict(num_classes=3, out_channels=256, loss_cls=dict(class_weight=[1.0] * 3 + [0.1]))


def test_a_head_of_one_output_is_not_sized():
    with pytest.raises(InputError, match="decode_head has one output, which tells 2 classes apart, and the data has 3"):
        size_heads(ConfigDict(decode_head=dict(num_classes=2, out_channels=1)), 3, 2)


# What is refused before anything is written.


def save_mask(root, values):
    Image.fromarray(values).save(first(root, "masks/train/*"))


LABELS = np.zeros((40, 48), np.uint8)
# Some of each stage; every kind of image and mask is in test_check_dataset, where the same function looks at it.
BAD = {
    "label value": (lambda r: save_mask(r, LABELS + 9), r"outside the class list: 0.png \(9\)"),
    "no images": (lambda r: [p.unlink() for p in r.glob("*/val/*")], "split without images: .*images/val"),
    "no split": (lambda r: shutil.rmtree(r / "images/val"), "has only train of the splits train and val"),
    "no splits": (lambda r: [shutil.rmtree(p) for p in r.glob("images/*")], "has neither of the splits train and val"),
    "rotated image": (
        lambda r: turned(first(r, "images/train/*")),
        "40x48, as it lies in the file before|before its EXIF",
    ),
    "nothing labelled": (
        lambda r: [Image.fromarray(LABELS + 255).save(p) for p in r.glob("masks/train/*")],
        "3 masks without any labelled pixel",
    ),
    "broken JSON": (lambda r: (r / "classes.json").write_text("{"), "classes.json cannot be read"),
    "no value": (lambda r: (r / "classes.json").write_text('{"road": "1"}'), "names the mask value 'road'"),
    "value 300": (lambda r: (r / "classes.json").write_text('{"0": "a", "300": "b"}'), "names the mask value '300'"),
    "no names": (lambda r: (r / "classes.txt").write_text("\n"), "names no classes"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_masks_are_refused(fault, config, own, tmp_path, capsys):
    spoil, message = BAD[fault]
    spoil(own)
    said = refused(train, [config, "--data-root", str(own), "--work-dir", str(tmp_path / "work")], capsys, tmp_path)
    assert re.search(message, said), said


def test_masks_of_0_and_255_alone_are_refused_with_the_way_out(config, tmp_path, capsys):
    root = write_masks(tmp_path / "own", values=(0, 255))
    said = refused(train, [config, "--data-root", str(root), "--work-dir", str(tmp_path / "work")], capsys, tmp_path)
    assert '{"0": "background", "255": "object"}' in said


def test_one_image_a_batch_is_refused_where_a_head_pools_it_to_one_position(config, own, tmp_path, capsys):
    arguments = [config, "--data-root", str(own), "--work-dir", str(tmp_path / "work")]
    said = refused(train, [*arguments, "--cfg-options", "train_dataloader.batch_size=1"], capsys, tmp_path)
    assert "model.decode_head (UPerHead) pools images to one position" in said


def test_a_list_for_a_folder_of_another_layout_is_refused(config, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("a\nb\n")
    arguments = [config, "--data-root", str(tmp_path), "--classes", str(tmp_path / "names.txt")]
    said = refused(train, [*arguments, "--work-dir", str(tmp_path / "work")], capsys, tmp_path)
    assert "--classes and --void are about masks" in said


# Of large data sets, what is seen when it is loaded only.


def test_a_fault_outside_the_sample_stops_training_by_name(config, own, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(checks, "MOST_MASKS", 1)
    monkeypatch.setattr("random.Random.sample", lambda self, items, most: items[:most])
    Image.fromarray(LABELS + 9).save(own / "masks/train/2.png")
    assert train([config, "--data-root", str(own), "--work-dir", str(tmp_path / "work")]) == 2
    said = capsys.readouterr().err
    assert "masks/train/2.png holds a value outside the 3 classes; its values are 9." in said
    assert "Traceback" not in said


def test_an_image_that_a_data_worker_cannot_read_stops_training_by_name(config, own, tmp_path, capfd, monkeypatch):
    path = own / "images/train/2.jpg"  # the first two are read before a worker is
    cut(path)
    monkeypatch.setattr(checks, "header_faults", lambda images: [])
    options = ["--work-dir", str(tmp_path / "work"), "--cfg-options", "train_dataloader.num_workers=1"]
    assert train([config, "--data-root", str(own), *options]) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("train: ")]
    assert len(said) == 1 and said[0].startswith(f"train: Image {path} cannot be read.")


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (dict(ori_shape=(4, 5), height=5, width=4), "annotated 4x5 pixels, and read as 5x4"),
        (dict(ori_shape=(4, 5), gt_seg_map=np.zeros((4, 4), np.uint8)), "is 4x4 pixels, and its image 5x4"),
        (dict(ori_shape=(4, 5), gt_seg_map=np.zeros((4, 5, 3), np.uint8)), "is 5x4x3 pixels"),
    ],
)
def test_what_is_loaded_must_fit(results, message):
    step = pixel_check.CheckLoaded(num_classes=2 if "gt_seg_map" in results else None)
    with pytest.raises(InputError, match=message):
        step(dict(results, img_path="a.jpg", seg_map_path="a.png"))


def test_labels_of_all_classes_and_the_ignored_one_pass():
    labels = np.array([[0, 1, 255]], np.uint8)
    results = dict(ori_shape=(1, 3), gt_seg_map=labels, img_path="a.jpg", seg_map_path="a.png")
    assert pixel_check.CheckLoaded(num_classes=2)(results) is results


def test_hidden_files_folders_and_dead_links_are_no_images(tmp_path):
    for folder in ("images", "masks"):
        (tmp_path / folder / "folder.png").mkdir(parents=True)
        (tmp_path / folder / "._a.png").write_text("")
        (tmp_path / folder / "b.png").symlink_to("nowhere.png")
    Image.new("L", (2, 2)).save(tmp_path / "images/a.png")
    pairs = mask_files.pair_files(tmp_path / "images", tmp_path / "masks")
    assert (list(pairs.images), list(pairs.masks), pairs.twice) == (["a"], [], [])


def test_a_list_of_a_windows_editor_has_clean_names(tmp_path):
    folder = MaskFolder(tmp_path, "images and masks", "masks", {})
    (tmp_path / "classes.txt").write_bytes("\ufeffroad\r\ncar\r\n".encode())
    assert mask_files.read_labels(folder).named == {0: "road", 1: "car"}


@pytest.mark.parametrize("ending", ["", "_mask", "_labelTrainIds"])
def test_masks_are_found_under_their_images_names(ending, tmp_path):
    for name in ("a", "ab", "b/c"):
        for folder, stem in (("images", name), ("masks", name + ending)):
            path = tmp_path / folder / f"{stem}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (2, 2)).save(path)
    pairs = mask_files.pair_files(tmp_path / "images", tmp_path / "masks")
    assert {stem: path.stem for stem, path in pairs.masks.items()} == {
        "a": f"a{ending}",
        "ab": f"ab{ending}",
        "b/c": f"c{ending}",
    }
