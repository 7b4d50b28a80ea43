"""Damaged and hostile files of weights: each is refused, or gives what was written; none fills the memory."""

import io
import os
import pickle
import random
import resource
import zipfile
from collections import OrderedDict

import pytest
import torch
from safetensors.torch import load_file, save_file

from maxvit_dense.errors import InputError
from maxvit_dense.weights.integrity import save_safetensors
from maxvit_dense.weights.safe_load import extract_state_dict, read_checkpoint

WEIGHTS = {f"layer.{i}.weight": torch.randn(20, 30, generator=torch.Generator().manual_seed(i)) for i in range(6)}
META = dict(epoch=3, iter=12, seed=7)
FLIPPED = 8  # neighbouring bytes


def written(folder, kind):
    path = folder / f"weights{kind}"
    if kind == ".safetensors":
        save_safetensors(WEIGHTS, path)
    else:
        torch.save(dict(state_dict=WEIGHTS, meta=META), path)
    return path


def assert_refused_or_as_written(path):
    try:
        found = read_checkpoint(path)
    except InputError as error:
        assert str(path) in str(error)
        return True
    weights = extract_state_dict(found)
    assert list(sorted(weights)) == sorted(WEIGHTS)
    assert all(torch.equal(weights[name], value) for name, value in WEIGHTS.items())
    assert path.suffix == ".safetensors" or found["meta"] == META
    return False


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_changed_bytes_are_refused_wherever_they_matter(tmp_path, kind):
    path, draw = written(tmp_path, kind), random.Random(0)
    whole = path.read_bytes()
    refused = 0
    for _ in range(200):
        place = draw.randrange(len(whole) - FLIPPED)
        changed = bytearray(whole)
        changed[place : place + FLIPPED] = bytes(byte ^ 0x55 for byte in whole[place : place + FLIPPED])
        path.write_bytes(changed)
        refused += assert_refused_or_as_written(path)
    assert refused > 150  # the rest lies in padding, dates and the like


@pytest.mark.parametrize("place", [0, 4, 9, 40])
def test_a_damaged_header_of_a_safetensors_file_is_one_message(tmp_path, place):
    path = written(tmp_path, ".safetensors")
    content = bytearray(path.read_bytes())
    content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="Copy or download it again"):
        read_checkpoint(path)


def test_our_safetensors_are_like_any(tmp_path):
    save_safetensors(WEIGHTS, tmp_path / "ours.safetensors")
    found = load_file(tmp_path / "ours.safetensors")
    assert all(torch.equal(found[name], value) for name, value in WEIGHTS.items())


def test_files_without_a_checksum_load(tmp_path):
    save_file(WEIGHTS, tmp_path / "foreign.safetensors")
    assert not assert_refused_or_as_written(tmp_path / "foreign.safetensors")
    computes = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        path = written(tmp_path, ".pth")
    finally:
        torch.serialization.set_crc32_options(computes)
    assert not assert_refused_or_as_written(path)


def test_open_files_are_compared_too(tmp_path):
    content = bytearray(written(tmp_path, ".pth").read_bytes())
    content[content.index(WEIGHTS["layer.3.weight"].numpy().tobytes())] ^= 1
    with pytest.raises(InputError, match="the checkpoint stream is damaged"):
        read_checkpoint(io.BytesIO(content))


# Files that would fill the memory.


def repacked(path, edit=lambda name, content: content, **kwargs):
    """The archive written again, each part through ``edit``."""
    with zipfile.ZipFile(path) as archive:
        parts = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", **kwargs) as archive:
        for name, content in parts:
            archive.writestr(name, edit(name, content))


def in_place_of_pickle(bomb):
    return lambda name, content: bomb if name.endswith("data.pkl") else content


def assert_refused_in_little_memory(path, words, megabytes=200):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=words):
        read_checkpoint(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < megabytes * 1024


def test_a_pickle_that_inflates_is_refused_by_its_size(tmp_path):
    path = written(tmp_path, ".pth")
    bomb = b"\x80\x02](" + b"}" * 100_000_000 + b"e."  # a list of dictionaries, 64 bytes each
    repacked(path, in_place_of_pickle(bomb), compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 500_000
    assert_refused_in_little_memory(path, "claims to hold 100")


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_of_too_many_objects_is_refused(tmp_path, is_archive):
    path = written(tmp_path, ".pth")
    bomb = b"\x80\x02](" + b"}" * 6_000_000 + b"e."
    if is_archive:
        repacked(path, in_place_of_pickle(bomb))
    else:
        path.write_bytes(bomb)
    assert_refused_in_little_memory(path, "over 2000000 instructions")


class AsksForMemory:
    def __reduce__(self):
        return bytearray, (8 * 2**30,)


@pytest.mark.parametrize("is_archive", [True, False])
def test_a_pickle_that_asks_for_memory_is_refused(tmp_path, is_archive):
    path = tmp_path / "memory.pth"
    content = dict(state_dict=WEIGHTS, extra=AsksForMemory())
    torch.save(content, path, _use_new_zipfile_serialization=is_archive)
    assert_refused_in_little_memory(path, "asks for a bytearray")


def test_a_tensor_larger_than_its_file_is_refused(tmp_path):
    torch.save(dict(weight=torch.ones(1).expand(10**9)), tmp_path / "large.pth")
    assert_refused_in_little_memory(tmp_path / "large.pth", "holds less of weight than its shape says")


def test_a_long_log_in_a_checkpoint_is_no_bomb(tmp_path):
    import numpy as np

    log = np.arange(2_000_000, dtype=np.float64)
    torch.save(dict(state_dict=WEIGHTS, message_hub=dict(log=log)), tmp_path / "long.pth")
    assert np.array_equal(read_checkpoint(tmp_path / "long.pth")["message_hub"]["log"], log)


# What is no weights.


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_weights_that_are_all_nan_are_refused(tmp_path, kind):
    nothing = OrderedDict((name, torch.full_like(value, torch.nan)) for name, value in WEIGHTS.items())
    nothing["counter"] = torch.tensor(3)
    path = tmp_path / f"nan{kind}"
    save_safetensors(nothing, path) if kind == ".safetensors" else torch.save(nothing, path)
    with pytest.raises(InputError, match="holds NaN alone, no weights"):
        read_checkpoint(path)


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(InputError, match="is not a file: a pipe"):
        read_checkpoint(tmp_path / "pipe.pth")


def test_the_hostile_pickle_does_ask_for_memory():
    """Without this, the tests above could pass with a harmless file."""
    assert b"bytearray" in pickle.dumps(AsksForMemory(), protocol=2)
