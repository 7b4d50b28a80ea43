"""A demo's data is drawn by the run that needs it, in an empty folder, once."""

import threading
import time
from pathlib import Path

import pytest

pytest.importorskip("mmengine")

from mmengine.config import Config  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.configure import samples  # noqa: E402


def config_of(*roots: str) -> Config:
    sets = [dict(type="CocoDataset", data_root=root) for root in roots]
    return Config(dict(train_dataloader=dict(dataset=dict(type="ConcatDataset", datasets=sets))))


@pytest.fixture
def drawn(tmp_path, monkeypatch) -> list[Path]:
    """The folders drawn from here on, in an empty working folder."""
    folders = []

    def write(folder):
        folders.append(folder)
        time.sleep(0.2)  # long enough for a second process to come by
        folder.mkdir(parents=True)

    monkeypatch.setattr(samples, "write_sample_data", write)
    monkeypatch.chdir(tmp_path)
    return folders


@pytest.mark.parametrize("root", ["data/sample/coco/", "data/sample/ade/ADEChallengeData2016", "./data/sample"])
def test_samples_are_drawn_where_a_config_reads_them(drawn, root):
    samples.draw_missing_samples(config_of("elsewhere", root))
    assert drawn == [Path("data/sample")]


@pytest.mark.parametrize("root", ["data/sampled/coco", "data/coco", "other/data/sample", ""])
def test_nothing_is_drawn_for_other_data(drawn, root):
    samples.draw_missing_samples(config_of(root))
    assert drawn == [] and not Path("data").exists()


def test_what_lies_there_is_left_alone(drawn):
    Path("data/sample").mkdir(parents=True)
    samples.draw_missing_samples(config_of("data/sample/coco"))
    assert drawn == []


def test_of_several_processes_one_draws_and_all_find_the_data(drawn):
    found = []

    def process():
        samples.draw_missing_samples(config_of("data/sample/coco"))
        found.append(Path("data/sample").is_dir())

    threads = [threading.Thread(target=process) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 3 and len(drawn) == 1


def test_a_folder_that_cannot_be_written_is_a_mistake_of_input(drawn):
    Path("data").write_text("a file")
    with pytest.raises(InputError, match=r"cannot be drawn in data/sample: .*Use another folder"):
        samples.draw_missing_samples(config_of("data/sample/coco"))
