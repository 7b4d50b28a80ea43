"""The report of a run: its counts against small cases worked out by hand, and the page of a real training."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("mmdet", reason="needs mmdet (pip install maxvit_dense[openmmlab])")
pytest.importorskip("mmseg", reason="needs mmseg (pip install maxvit_dense[openmmlab])")

from mmdet.structures import DetDataSample  # noqa: E402
from mmengine.structures import InstanceData, PixelData  # noqa: E402
from mmseg.structures import SegDataSample  # noqa: E402

from maxvit_dense.openmmlab.engine import prepare  # noqa: E402
from maxvit_dense.openmmlab.report.page import page  # noqa: E402
from maxvit_dense.openmmlab.report.tally import WORST, Tally, match  # noqa: E402
from maxvit_dense.openmmlab.report.worst import draw_worst  # noqa: E402
from maxvit_dense.sample_data import write_sample_data  # noqa: E402
from tests.config_files import find  # noqa: E402


def detections(truth, found, path="a.jpg"):
    """A sample of a detector; ``truth`` of (box, label), ``found`` of (box, label, score)."""
    sample = DetDataSample(metainfo=dict(img_path=str(path)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([box for box, _ in truth], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([label for _, label in truth], dtype=torch.int64),
    )
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([box for box, *_ in found], dtype=torch.float32).view(-1, 4),
        labels=torch.tensor([label for _, label, _ in found], dtype=torch.int64),
        scores=torch.tensor([score for *_, score in found], dtype=torch.float32),
    )
    return sample


A, B, C = [0, 0, 10, 10], [20, 0, 40, 20], [0, 30, 10, 40]


def test_objects_found_taken_for_others_missed_and_imagined():
    tally = Tally(["cat", "dog"])
    tally.add(detections([(A, 0), (B, 1), (C, 0)], [(A, 0, 0.9), (B, 0, 0.8), ([60, 60, 70, 70], 1, 0.7), (C, 0, 0.1)]))
    assert tally.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [0, 1, 0]]
    (worst,) = tally.worst
    assert worst.missed == [(B, "dog"), (C, "cat")]
    assert worst.false == [(B, "cat"), ([60, 60, 70, 70], "dog")]
    assert worst.badness == 4


def test_each_found_box_stands_for_one_object_of_its_class_first():
    truth = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 11]])
    assert match(truth, truth[:1], torch.tensor([0, 1]), torch.tensor([1])) == [None, 0]
    assert match(truth, truth[[1, 0]], torch.tensor([0, 0]), torch.tensor([0, 0])) == [1, 0]
    assert match(truth, truth + 30, torch.tensor([0, 0]), torch.tensor([0, 0])) == [None, None]


def test_pixels_count_where_there_is_truth():
    sample = SegDataSample(metainfo=dict(img_path="a.jpg"))
    sample.gt_sem_seg = PixelData(data=torch.tensor([[[0, 1], [1, 255]]]))
    sample.pred_sem_seg = PixelData(data=torch.tensor([[[0, 1], [0, 1]]]))
    tally = Tally(["road", "sky"])
    tally.add(sample)
    assert tally.confusion[:2, :2].tolist() == [[1, 0], [1, 1]] and tally.confusion.sum() == 3
    assert tally.worst[0].badness == pytest.approx(1 / 3)
    assert tally.worst[0].wrong.tolist() == [[False, False], [True, False]]
    assert "66.7%" not in page("t", {}, {}, {}, tally, {}) and "50.0%" in page("t", {}, {}, {}, tally, {})


def test_two_processes_count_as_one():
    tally, other, both = Tally(["x"]), Tally(["x"]), Tally(["x"])
    for i in range(WORST + 5):
        sample = detections([(A, 0)] * (i % 7 + 1), [])
        both.add(sample)
        (tally if i % 2 else other).add(sample)
    tally.merge(other)
    assert tally.confusion.tolist() == both.confusion.tolist()
    assert sorted(m.badness for m in tally.worst) == sorted(m.badness for m in both.worst)
    assert len(tally.worst) == WORST


def test_a_page_keeps_names_from_being_markup():
    tally = Tally(["<b>", "<script>"])
    tally.add(dict(scores=torch.tensor([0.1, 0.9]), label=0))
    text = page("<i>", {"command": "<u>"}, {"<s>": 1.0}, {}, tally, {})
    assert not re.search("<(b|script|i|u|s)>", text)
    assert tally.confusion.tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]


def test_the_worst_images_show_what_is_wrong(tmp_path):
    Image.new("RGB", (80, 60), (0, 0, 200)).save(tmp_path / "a.png")
    tally = Tally(["cat"])
    tally.add(detections([([10, 10, 50, 40], 0)], [], tmp_path / "a.png"))
    tally.add(detections([(A, 0)], [], tmp_path / "gone.png"))
    (tmp_path / "sheet.jpg").write_bytes(draw_worst(tally.worst))
    colours = np.asarray(Image.open(tmp_path / "sheet.jpg").convert("RGB")).reshape(-1, 3).astype(int)
    assert (np.abs(colours - (255, 170, 0)).sum(1) < 60).sum() > 50
    assert draw_worst([]) is None


@pytest.mark.parametrize("name", ["demo_retinanet_maxvit_mini_sample", "demo_upernet_maxvit_mini_sample"])
def test_a_training_leaves_a_page_complete_in_itself(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sample_data(tmp_path / "data" / "sample", train=4, val=2, size=96)
    short = {"train_cfg.max_epochs": 1} if "retina" in name else {"train_cfg.max_iters": 2}
    overrides = {**short, "train_cfg.val_interval": 1 if "retina" in name else 2, "train_dataloader.batch_size": 2}
    cfg = prepare.prepare_training(str(find(name)), work_dir=str(tmp_path / "run"), overrides=overrides)
    prepare.build_runner(cfg).train()
    text = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 1 and text.count("data:image/jpeg;base64,") == 1
    assert not re.search(r"""(src|href)=["']?(http|//)""", text)
    assert all(f"<td>{shape}</td>" in text for shape in ("circle", "star"))
    assert "maxvit_dense" in text and "seed" in text
    assert (tmp_path / "run" / "worst.jpg").is_file()
