"""What the work dir says of its newest checkpoint."""

import shutil

import pytest

from maxvit_dense.work_dir import last_checkpoint


@pytest.fixture
def work_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "epoch_2.pth").touch()
    (folder / "last_checkpoint").write_text(str(folder / "epoch_2.pth"))
    return folder


def test_the_record_names_the_newest_checkpoint(work_dir):
    assert last_checkpoint(work_dir) == work_dir / "epoch_2.pth"


def test_a_moved_work_dir_has_its_own_checkpoint(work_dir):
    moved = shutil.move(work_dir, work_dir.with_name("moved"))
    assert last_checkpoint(moved) == moved / "epoch_2.pth"


def test_a_checkpoint_that_is_gone_is_still_named(work_dir):
    (work_dir / "epoch_2.pth").unlink()
    assert last_checkpoint(str(work_dir)) == work_dir / "epoch_2.pth"


@pytest.mark.parametrize("record", [None, b"", b"\n", b"\xff\xfe\x00", b"a\0b", b"."])
def test_without_a_record_that_names_a_checkpoint_there_is_none(work_dir, record):
    path = work_dir / "last_checkpoint"
    path.unlink() if record is None else path.write_bytes(record)
    assert last_checkpoint(work_dir) is None
