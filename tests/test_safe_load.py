"""Checkpoints are read as data: weights come out whole, anything that could run code is refused."""

import argparse
import io
import pickle
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import save_file

from maxvit_dense.errors import InputError
from maxvit_dense.weights.safe_load import (
    backbone_state_dict,
    download_checkpoint,
    extract_state_dict,
    read_checkpoint,
)
from tests.spoil import WritesAFile

WEIGHTS = {"stem.weight": torch.arange(6.0).reshape(2, 3), "head.bias": torch.ones(4)}
WRAPPED = {f"module.{key}": value for key, value in WEIGHTS.items()}


class PlainObject:
    """A harmless class that is still not a tensor."""


def assert_same(found, expected=WEIGHTS):
    assert list(found) == list(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors", ""])
def test_reads_what_was_saved(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save_file(WEIGHTS, path) if suffix == ".safetensors" else torch.save(WEIGHTS, path)
    found = read_checkpoint(path)
    assert sorted(found) == sorted(WEIGHTS)
    assert all(torch.equal(found[key], WEIGHTS[key]) for key in WEIGHTS)


def test_reads_the_format_before_torch_1_6_and_open_files(tmp_path):
    old = tmp_path / "old.pth"
    torch.save(WEIGHTS, old, _use_new_zipfile_serialization=False)
    assert_same(read_checkpoint(str(old)))
    stream = io.BytesIO()
    torch.save(WEIGHTS, stream)
    assert_same(read_checkpoint(stream))  # the position is at the end: the reader must rewind


def test_reads_the_arguments_in_a_timm_training_checkpoint(tmp_path):
    torch.save({"state_dict": WEIGHTS, "args": argparse.Namespace(lr=0.1)}, tmp_path / "timm.pth")
    assert read_checkpoint(tmp_path / "timm.pth")["args"].lr == 0.1


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("place", ["alone", "beside weights"])
def test_refuses_code_without_running_it(tmp_path, zipped, place):
    proof = tmp_path / "proof"
    hostile = WritesAFile(proof)
    content = hostile if place == "alone" else {"state_dict": WEIGHTS, "meta": hostile}
    torch.save(content, tmp_path / "bad.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match="system"):
        read_checkpoint(tmp_path / "bad.pth")
    assert not proof.exists()


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_refuses_a_bare_pickle_without_running_it(tmp_path, protocol):
    proof = tmp_path / "proof"
    (tmp_path / "bad.pth").write_bytes(pickle.dumps(WritesAFile(proof), protocol=protocol))
    with pytest.raises(InputError):
        read_checkpoint(tmp_path / "bad.pth")
    assert not proof.exists()


def test_the_hostile_file_does_run_when_unpickled(tmp_path):
    """Without this, the two tests above could pass with a harmless file."""
    pickle.loads(pickle.dumps(WritesAFile(tmp_path / "proof")))
    assert (tmp_path / "proof").exists()


def test_names_the_class_it_refuses(tmp_path):
    torch.save({"state_dict": WEIGHTS, "extra": PlainObject()}, tmp_path / "object.pth")
    with pytest.raises(InputError, match="PlainObject.*state_dict alone"):
        read_checkpoint(tmp_path / "object.pth")


class ReachesIntoAModule:
    """Pickles to getattr(HistoryBuffer, name): with plain getattr, the start of a walk to any function."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        history = pytest.importorskip("mmengine.logging.history_buffer")
        return getattr, (history.HistoryBuffer, self.name)


@pytest.mark.parametrize("name", ["update", "__init__", "__subclasses__"])
def test_methods_other_than_a_runner_writes_are_refused(tmp_path, name):
    torch.save({"state_dict": WEIGHTS, "extra": ReachesIntoAModule(name)}, tmp_path / "walk.pth")
    with pytest.raises(InputError, match=f"HistoryBuffer.*{name}.*no Runner writes"):
        read_checkpoint(tmp_path / "walk.pth")


def broken_files(folder):
    whole = folder / "whole.pth"
    torch.save(WEIGHTS, whole)
    save_file(WEIGHTS, folder / "whole.safetensors")
    (folder / "cut.pth").write_bytes(whole.read_bytes()[:-200])
    (folder / "cut.safetensors").write_bytes((folder / "whole.safetensors").read_bytes()[:-3])
    (folder / "empty.pth").write_bytes(b"")
    (folder / "text.pth").write_text("<html>404 not found</html>")
    (folder / "text.safetensors").write_text("not weights")
    torch.save(torch.ones(3), folder / "tensor.pth")
    torch.save({}, folder / "nothing.pth")
    torch.save({"state_dict": OrderedDict(), "epoch": 3}, folder / "hollow.pth")
    torch.save({"epoch": 3, "lr": 0.1}, folder / "numbers.pth")
    torch.jit.script(torch.nn.Linear(2, 2)).save(folder / "script.pth")


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("absent.pth", "no checkpoint file .*absent.pth"),
        (".", "is a directory"),
        ("empty.pth", "0 bytes"),
        ("cut.pth", "truncated"),
        ("cut.safetensors", "truncated"),
        ("text.pth", "damaged or no checkpoint"),
        ("text.safetensors", "truncated or no safetensors"),
        ("tensor.pth", "holds a Tensor"),
        ("nothing.pth", "no tensor at all"),
        ("hollow.pth", "no tensor at all"),
        ("numbers.pth", "no state dict: its entries are epoch, lr"),
        ("script.pth", "damaged or no checkpoint"),
    ],
)
def test_says_what_is_wrong_in_one_message(tmp_path, name, message):
    broken_files(tmp_path)
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(tmp_path / name)
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


@pytest.mark.parametrize("cut", [1, 30, 200, 600, 900])
def test_no_truncation_escapes_as_another_error(tmp_path, cut):
    path = tmp_path / "weights.pth"
    torch.save({"state_dict": WEIGHTS}, path)
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(InputError):
        read_checkpoint(path)


@pytest.mark.parametrize(
    "checkpoint",
    [
        WEIGHTS,
        {"state_dict": WEIGHTS, "meta": {}},
        {"model": WEIGHTS, "epoch": 1},
        {"state_dict": {}, "state_dict_ema": WEIGHTS},
        {"model": {}, "model_ema": {"n_averaged": torch.tensor(3), **WRAPPED}},
        {"state_dict": WRAPPED},
        {"state_dict": {f"_orig_mod.{k}": WEIGHTS[k] for k in WEIGHTS}},
    ],
)
def test_finds_the_weights_in_every_layout(checkpoint):
    assert_same(extract_state_dict(checkpoint))


def test_raw_weights_of_a_runner_are_beside_the_averaged_ones():
    raw = {f"module.{key}": value + 1 for key, value in WEIGHTS.items()}
    checkpoint = {"state_dict": WEIGHTS, "ema_state_dict": {"steps": torch.tensor(7), **raw}}
    assert_same(extract_state_dict(checkpoint))
    assert_same(extract_state_dict(checkpoint, averaged=False), {k: v + 1 for k, v in WEIGHTS.items()})


def test_backbone_of_a_detector_and_of_itself():
    detector = {f"backbone.{key}": value for key, value in WEIGHTS.items()}
    detector["neck.weight"] = torch.zeros(2)
    assert_same(backbone_state_dict({"state_dict": detector}))
    assert_same(backbone_state_dict(WEIGHTS))


def test_downloads_once(tmp_path, monkeypatch):
    torch.save(WEIGHTS, tmp_path / "served.pth")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    path = download_checkpoint((tmp_path / "served.pth").as_uri(), progress=False)
    assert_same(read_checkpoint(path))
    (tmp_path / "served.pth").unlink()
    assert download_checkpoint((tmp_path / "served.pth").as_uri()) == path
    with pytest.raises(InputError, match="cannot be downloaded.*local file"):
        download_checkpoint((tmp_path / "other.pth").as_uri(), progress=False)


def test_files_of_two_addresses_with_one_name_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for place in ("first", "second"):
        (tmp_path / place).mkdir()
        torch.save({"weight": torch.full((2,), float(len(place)))}, tmp_path / place / "model.pth")
    paths = [download_checkpoint((tmp_path / place / "model.pth").as_uri(), False) for place in ("first", "second")]
    assert [read_checkpoint(path)["weight"][0].item() for path in paths] == [5.0, 6.0]
