"""The sample data set on disk: exact annotations, the same bytes from the same seed, nothing half-written."""

import contextlib
import hashlib
import io
import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from maxvit_dense import sample_data as sd
from maxvit_dense.errors import InputError
from tools import make_sample_data as tool

SMALL = {"train": 10, "val": 4, "size": 64, "seed": 3}
TINY = {"train": 2, "val": 1, "size": 32}
ADE = "ade/ADEChallengeData2016"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    directory = tmp_path_factory.mktemp("sample") / "set"
    assert sd.write_sample_data(directory, **SMALL) is True
    return directory


def digests(directory):
    files = sorted(path for path in Path(directory).rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def load_coco(root, split):
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(root / "coco" / "annotations" / f"instances_{split}2017.json"))


# COCO


@pytest.mark.parametrize("split", ["train", "val"])
def test_coco_annotations_are_tight_and_match_the_drawn_masks(root, split):
    coco = load_coco(root, split)
    assert len(coco.imgs) == SMALL[split]
    assert [category["name"] for category in coco.loadCats(coco.getCatIds())] == list(sd.CLASSES)
    for image_id, info in coco.imgs.items():
        with Image.open(root / "coco" / f"{split}2017" / info["file_name"]) as image:
            assert image.size == (info["width"], info["height"])
        union = np.zeros((info["height"], info["width"]), dtype=int)
        for annotation in coco.imgToAnns[image_id]:
            mask = coco.annToMask(annotation).astype(bool)
            rows, columns = np.nonzero(mask)
            left, top, width, height = annotation["bbox"]
            assert (left, top) == (columns.min(), rows.min())
            assert (left + width - 1, top + height - 1) == (columns.max(), rows.max())
            assert annotation["area"] == mask.sum()
            assert annotation["iscrowd"] == 0
            union[mask] += annotation["category_id"]
        # Sums of category ids equal the label map only if no two masks overlap.
        place = image_id - min(coco.imgs) + 1
        ade_split = {"train": "training", "val": "validation"}[split]
        labels = np.asarray(Image.open(root / ADE / "annotations" / ade_split / f"ADE_{split}_{place:08d}.png"))
        assert np.array_equal(union, np.where(labels <= len(sd.CLASSES), labels, 0))


def test_image_ids_are_unique_over_both_splits(root):
    ids = [set(load_coco(root, split).imgs) for split in ("train", "val")]
    assert not ids[0] & ids[1]


def test_sizes_differ_and_stay_near_the_one_asked_for(root):
    sizes = {(info["height"], info["width"]) for info in load_coco(root, "train").imgs.values()}
    assert len(sizes) > 5
    assert any(height != width for height, width in sizes)
    # A fifth about 64 is 51.2 to 76.8, rounded to whole pixels.
    assert all(51 <= side <= 77 for size in sizes for side in size)


@pytest.mark.parametrize("poly2mask", [True, False])
def test_mmdet_loads_every_instance(root, poly2mask):
    pytest.importorskip("maxvit_dense.openmmlab", reason="needs the OpenMMLab extra", exc_type=ImportError)
    from mmdet.datasets import CocoDataset
    from mmdet.datasets.transforms import LoadAnnotations

    dataset = CocoDataset(
        data_root=str(root / "coco"),
        ann_file="annotations/instances_train2017.json",
        data_prefix={"img": "train2017/"},
        metainfo={"classes": sd.CLASSES},
        filter_cfg={"filter_empty_gt": True, "min_size": 32},
        pipeline=[],
    )
    coco = load_coco(root, "train")
    load = LoadAnnotations(with_bbox=True, with_mask=True, poly2mask=poly2mask)
    assert len(dataset) == SMALL["train"]
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        loaded = load({**info, "ori_shape": (info["height"], info["width"])})
        annotations = coco.imgToAnns[info["img_id"]]
        assert not loaded["gt_ignore_flags"].any()
        assert loaded["gt_bboxes_labels"].tolist() == [a["category_id"] - 1 for a in annotations]
        masks = [coco.annToMask(annotation) for annotation in annotations]
        assert np.array_equal(loaded["gt_masks"].to_ndarray(), masks)


# ADE20K and class folders


def test_ade_folder_pairs_images_with_label_maps(root):
    names = (root / ADE / "classes.txt").read_text().split()
    assert tuple(names) == sd.SEMANTIC_CLASSES
    seen = set()
    for split, name in (("training", "train"), ("validation", "val")):
        images = sorted((root / ADE / "images" / split).iterdir())
        labels = sorted((root / ADE / "annotations" / split).iterdir())
        assert [path.stem for path in images] == [path.stem for path in labels]
        assert len(images) == SMALL[name]
        for image_path, label_path in zip(images, labels, strict=True):
            with Image.open(image_path) as image, Image.open(label_path) as label:
                assert image.size == label.size
                assert (image.mode, label.mode) == ("RGB", "L")
                seen |= set(np.unique(label).tolist())
    assert 0 in seen  # some ground is unlabelled, as in ADE20K
    assert max(seen) <= len(names)
    assert any(value > len(sd.CLASSES) for value in seen)


def test_ade_images_are_those_of_coco(root):
    coco_files = sorted((root / "coco" / "val2017").iterdir())
    ade_files = sorted((root / ADE / "images" / "validation").iterdir())
    assert [path.read_bytes() for path in coco_files] == [path.read_bytes() for path in ade_files]


@pytest.mark.parametrize("split", ["train", "val"])
def test_class_folders_hold_half_as_many_pictures_as_scenes(root, split):
    folders = {path.name: list(path.iterdir()) for path in (root / "imagenet" / split).iterdir()}
    assert set(folders) == set(sd.CLASSES)
    assert {len(files) for files in folders.values()} == {SMALL[split] // 2}
    with Image.open(folders["star"][0]) as image:
        assert image.format == "JPEG"
        assert image.mode == "RGB"


def test_no_picture_appears_twice(root):
    of_scenes = [v for k, v in digests(root / "coco").items() if k.endswith(".jpg")]
    of_classes = list(digests(root / "imagenet").values())
    assert len(set(of_scenes + of_classes)) == len(of_scenes) + len(of_classes)


# Determinism


def test_bytes_do_not_depend_on_the_number_of_workers(root, tmp_path):
    sd.write_sample_data(tmp_path / "set", **SMALL, workers=3)
    assert digests(tmp_path / "set") == digests(root)


def test_a_longer_set_begins_with_the_shorter_one_and_a_seed_changes_all(root, tmp_path):
    sd.write_sample_data(tmp_path / "longer", **(SMALL | {"train": 12}))
    sd.write_sample_data(tmp_path / "other", **(SMALL | {"seed": 4}))
    ours, longer, other = (
        {k: v for k, v in digests(path).items() if k.endswith(".jpg")}
        for path in (root, tmp_path / "longer", tmp_path / "other")
    )
    assert ours.items() < longer.items()
    assert not set(ours.values()) & set(other.values())


# What lies there already, and failures


def test_a_finished_set_is_left_as_it_is(root):
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    assert sd.write_sample_data(root, **SMALL) is False
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before


def test_other_parameters_are_named_and_refused_until_forced(tmp_path):
    sd.write_sample_data(tmp_path / "set", **TINY)
    before = digests(tmp_path)
    with pytest.raises(InputError, match=r"train 2 there, 3 asked; seed 0 there, 5 asked.*--force"):
        sd.write_sample_data(tmp_path / "set", train=3, val=1, size=32, seed=5)
    assert digests(tmp_path) == before
    assert sd.write_sample_data(tmp_path / "set", train=3, val=1, size=32, seed=5, force=True) is True
    assert len(list((tmp_path / "set" / "coco" / "train2017").iterdir())) == 3
    assert os.listdir(tmp_path) == ["set"]


def test_a_set_with_a_lost_file_is_not_called_complete(tmp_path):
    sd.write_sample_data(tmp_path / "set", **TINY)
    next((tmp_path / "set" / "coco" / "val2017").iterdir()).unlink()
    with pytest.raises(InputError, match="coco/val2017: 0 of 1 files"):
        sd.write_sample_data(tmp_path / "set", **TINY)


@pytest.mark.parametrize("manifest", [None, "{", "[]", '{"contents": "photographs"}'])
def test_a_foreign_directory_is_refused_even_when_forced(tmp_path, manifest):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("three years")
    if manifest is not None:
        (tmp_path / "mine" / "manifest.json").write_text(manifest)
    before = digests(tmp_path)
    with pytest.raises(InputError, match="is not a sample data set"):
        sd.write_sample_data(tmp_path / "mine", force=True)
    assert digests(tmp_path) == before


def test_an_empty_directory_is_filled(tmp_path):
    (tmp_path / "set").mkdir()
    assert sd.write_sample_data(tmp_path / "set", train=1, val=1, size=32) is True
    assert (tmp_path / "set" / "manifest.json").is_file()


@pytest.mark.parametrize("force", [False, True])
def test_an_interrupted_run_leaves_what_was_there(tmp_path, force):
    if force:
        sd.write_sample_data(tmp_path / "set", train=1, val=1, size=32)
    before = digests(tmp_path)

    def interrupt(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sd.write_sample_data(tmp_path / "set", **TINY, force=force, progress=interrupt)
    assert digests(tmp_path) == before
    assert os.listdir(tmp_path) == (["set"] if force else [])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_write_permission_is_refused(tmp_path, capsys):
    tmp_path.chmod(0o500)
    code = tool.main([str(tmp_path / "set"), "--train=1", "--val=1"])
    tmp_path.chmod(0o700)
    assert code == 2
    assert "Permission denied" in capsys.readouterr().err


def test_a_path_below_a_file_is_refused(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert tool.main([str(tmp_path / "file" / "set"), "--train=1", "--val=1"]) == 2
    assert "Not a directory" in capsys.readouterr().err


def test_the_manifest_counts_every_file(root):
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["parameters"] == SMALL | {"aspect": None}
    assert sum(manifest["files"].values()) + 1 == len(digests(root))


def test_an_aspect_draws_long_pictures_of_both_orientations(tmp_path):
    sd.write_sample_data(tmp_path / "set", train=40, val=1, size=64, aspect=3.0)
    ratios = [info["height"] / info["width"] for info in load_coco(tmp_path / "set", "train").imgs.values()]
    areas = [info["height"] * info["width"] for info in load_coco(tmp_path / "set", "train").imgs.values()]
    # Whole pixels: sides from 0.8 * 64 / sqrt(3) = 29 on.
    assert 1 / 3.1 < min(ratios) < 1 / 2.4 and 2.4 < max(ratios) < 3.1
    assert 0.6 * 64**2 < min(areas) and max(areas) < 1.5 * 64**2


# The command line


@pytest.mark.parametrize(
    "option",
    ["--size=31", "--size=2049", "--size=big", "--train=0", "--val=-1", "--seed=-1", "--workers=0", "--aspect=0.5"],
)
def test_bad_options_are_answered_with_the_range_and_code_2(tmp_path, option, capsys):
    with pytest.raises(SystemExit) as exit:
        tool.main([str(tmp_path / "set"), option])
    assert exit.value.code == 2
    assert f"'{option.partition('=')[2]}' given; give a " in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_it_says_what_it_did_with_a_few_lines_of_progress(tmp_path, capsys):
    args = [str(tmp_path / "set"), "--train=20", "--val=2", "--size=32"]
    assert tool.main(args) == 0
    first = capsys.readouterr()
    assert "20 + 2 scenes, drawn" in first.out
    lines = first.err.splitlines()
    assert len(lines) == 4 and lines[-1].endswith("88/88 pictures")
    assert tool.main(args) == 0
    again = capsys.readouterr()
    assert "already there" in again.out and again.err == ""


def test_a_full_disk_leaves_nothing(tmp_path, capsys):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        code = tool.main([str(tmp_path / "set"), "--train=20", "--val=2"])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    error = capsys.readouterr().err
    assert code == 2
    assert "cannot write" in error and "File too large" in error
    assert os.listdir(tmp_path) == []


def test_help_and_usage_mistakes_are_answered_before_torch_is_imported():
    code = """if True:
        import sys
        from tools import make_sample_data
        try:
            make_sample_data.main(["set", "--size=1"])
        finally:
            assert "torch" not in sys.modules
    """
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert result.returncode == 2 and "AssertionError" not in result.stderr
