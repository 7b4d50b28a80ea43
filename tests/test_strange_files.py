"""What lies where an image should: pipes, which hang whoever opens them, and images that would fill the memory."""

import os
import struct
import zlib

import pytest
from PIL import Image, PngImagePlugin

pytest.importorskip("mmengine")

from mmengine import fileio  # noqa: E402

from maxvit_dense.errors import InputError  # noqa: E402
from maxvit_dense.openmmlab.data.class_dataset import ClassFolders  # noqa: E402
from maxvit_dense.openmmlab.data.image_check import read_facts  # noqa: E402
from maxvit_dense.openmmlab.data.layouts.mask_files import read_mask  # noqa: E402
from maxvit_dense.openmmlab.engine.own_files import own_files  # noqa: E402
from maxvit_dense.predict.images import read_image  # noqa: E402
from tests.class_folders import write_folders  # noqa: E402


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_grey(path, width, height, behind=b""):
    """A grey PNG that is all header; what it says of its size costs nothing."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes((width + 1) * min(height, 9))))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + pixels + behind + chunk(b"IEND", b""))
    return path


@pytest.fixture
def pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    return tmp_path / "pipe.png"


@pytest.fixture
def huge(tmp_path):
    """400 megapixels."""
    return write_grey(tmp_path / "huge.png", 19_000, 21_000)


def test_a_pipe_is_no_image_no_mask_and_read_by_nobody(pipe):
    assert "not a file" in read_facts(pipe).reason and "not a file" in read_mask(pipe).reason
    with pytest.raises(InputError, match=r"pipe\.png is not a file"):
        read_image(pipe)
    with own_files(), pytest.raises(InputError, match=r"pipe\.png is not a file"):
        fileio.get(str(pipe))


def test_a_pipe_among_the_images_of_a_class_is_one_that_cannot_be_read(tmp_path):
    root = write_folders(tmp_path / "images")
    first = sorted((root / "val").rglob("*.*"))[0]
    first.unlink()
    os.mkfifo(first)
    images = ClassFolders(str(root), "val", dict(input_size=32))
    assert [item["unreadable"] for item in map(images.__getitem__, range(2))] == [str(first), ""]


def test_an_image_of_400_megapixels_is_refused_by_its_header(huge, monkeypatch):
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda *_: pytest.fail("decoded"))
    assert read_facts(huge).kinds == ("image side", "grey image")
    assert read_mask(huge).reason == "19000x21000 pixels, over 178 million"
    with pytest.raises(InputError, match="too large to be read whole"):
        read_image(huge)
    with own_files(), pytest.raises(InputError, match=r"huge\.png is too large to be read"):
        fileio.get(str(huge))


def test_a_header_is_read_without_pixels_though_the_orientation_stands_behind_them(tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[274] = 6
    path = write_grey(tmp_path / "turned.png", 12, 9, behind=chunk(b"eXIf", exif.tobytes()[6:]))
    with Image.open(path) as image:
        assert image.getexif()[274] == 6  # Pillow's way, which decodes
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", lambda *_: pytest.fail("decoded"))
    facts = read_facts(path, decode=False)
    assert (facts.width, facts.height) == (9, 12) and "rotated image" in facts.kinds
