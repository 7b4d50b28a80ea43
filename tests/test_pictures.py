"""--show-dir: pictures keep the images' folders, and never take the place of what is read."""

import json
import os
import shutil

import pytest
from PIL import Image

pytest.importorskip("mmdet")

from mmengine.config import Config, ConfigDict  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.configure import configure_data  # noqa: E402
from maxvit_dense.openmmlab.report.evaluation import PicturesHook, draw_pictures, save_predictions  # noqa: E402

NAMES = ("a/1.jpg", "b/1.jpg")


@pytest.fixture
def cfg(tmp_path):
    for name in NAMES:
        (tmp_path / "val" / name).parent.mkdir(parents=True)
        Image.new("RGB", (40, 30)).save(tmp_path / "val" / name)
    images = [dict(id=i, file_name=name, width=40, height=30) for i, name in enumerate(NAMES)]
    entry = dict(id=1, image_id=0, category_id=1, bbox=[0, 0, 9, 9], area=81, iscrowd=0)
    content = dict(images=images, annotations=[entry], categories=[dict(id=1, name="cat")])
    (tmp_path / "val.json").write_text(json.dumps(content))
    data = dict(
        type="CocoDataset", data_root=str(tmp_path), ann_file="val.json", data_prefix=dict(img="val/"), pipeline=[]
    )
    return Config(
        dict(
            default_scope="mmdet",
            model=dict(bbox_head=dict(num_classes=1)),
            test_dataloader=dict(dataset=dict(data, metainfo=dict(classes=("cat",)))),
            test_evaluator=dict(type="CocoMetric", ann_file=str(tmp_path / "val.json")),
            default_hooks=dict(visualization=dict(type="DetVisualizationHook")),
        )
    )


class Drawer:
    def add_datasample(self, name, image, data_sample, out_file, **options):
        Image.fromarray(image).save(out_file)


def test_equal_names_of_two_folders_are_two_pictures(cfg, tmp_path):
    draw_pictures(cfg, str(tmp_path / "pictures"))
    options = dict(cfg.default_hooks.visualization)
    assert options.pop("type") == "PicturesHook" and options["options"] == dict(pred_score_thr=0.3)
    samples = [ConfigDict(img_path=str(tmp_path / "val" / name)) for name in NAMES]
    PicturesHook(**options).after_test_iter(ConfigDict(visualizer=Drawer()), 0, outputs=samples)
    assert sorted(p.relative_to(tmp_path / "pictures").as_posix() for p in (tmp_path / "pictures").rglob("*.jpg")) == [
        *NAMES
    ]


@pytest.mark.parametrize("way", ["itself", "symbolic link", "link of a file", "linked folder below"])
def test_pictures_are_never_written_over_images(way, cfg, tmp_path):
    target = tmp_path / "pictures"
    if way == "itself":
        target = tmp_path / "val"
    elif way == "symbolic link":
        target.symlink_to(tmp_path / "val")
    elif way == "link of a file":
        (target / "a").mkdir(parents=True)
        os.link(tmp_path / "val/a/1.jpg", target / "a/1.jpg")
    else:
        target.mkdir()
        (target / "b").symlink_to(tmp_path / "val/b")
    with pytest.raises(InputError, match="would write pictures over the data"):
        draw_pictures(cfg, str(target))


def test_earlier_pictures_are_replaced(cfg, tmp_path):
    shutil.copytree(tmp_path / "val", tmp_path / "pictures")
    draw_pictures(cfg, str(tmp_path / "pictures"))


def test_of_a_file_without_annotations_predictions_are_written(cfg, tmp_path):
    content = json.loads((tmp_path / "val.json").read_text())
    del content["annotations"]
    (tmp_path / "val.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="--out FILE.json writes predictions"):
        configure_data(cfg, ("test",))
    configure_data(cfg, ("test",), predicted=True)
    save_predictions(cfg, str(tmp_path / "found.json"))
    assert cfg.test_evaluator.format_only and cfg.test_evaluator.outfile_prefix == str(tmp_path / "found")
