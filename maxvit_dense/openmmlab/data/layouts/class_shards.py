"""WebDataset shards, read at random: what shuffling by the sampler and going on in mid-epoch need.

A shard is a tar file of samples; files that share a name up to its first dot are one sample: ``000001.jpg`` and
``000001.cls``, a text file with the label. timm reads such shards through the package webdataset as streams, which
start over after an interruption; reading by place needs neither the package nor its shuffle buffers.
"""

import glob
import os
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import BinaryIO

from timm.data.readers.reader import Reader
from timm.utils.misc import natural_key

from ....errors import InputError, listed
from ..image_check import SUFFIXES

_LABEL_SUFFIX = ".cls"


def find_shards(root: str, names: Iterable[str]) -> list[str]:
    """Shards of one split: the tar files in ``root`` with one of ``names`` in their names, in natural order."""
    found = [path for name in names for path in glob.glob(os.path.join(glob.escape(root), f"*{name}*.tar"))]
    found = sorted(set(found), key=natural_key)
    return found if found and _is_shard(found[0]) else []


@contextmanager
def _open_tar(path: str) -> Iterator[tarfile.TarFile]:
    """A tar file, for reading.

    Raises:
        InputError: it is none, or cut off.
    """
    try:
        with tarfile.open(path) as archive:
            yield archive
    except tarfile.TarError as error:
        raise damaged_tar(path, error) from error


def damaged_tar(path: str, error: tarfile.TarError) -> InputError:
    return InputError(f"{path} is cut off or no tar file ({str(error).splitlines()[0]}). Copy or download it again.")


def _is_shard(path: str) -> bool:
    """Whether one of the first samples has a label file: a tar of class folders has none."""
    with _open_tar(path) as archive:
        return any(member.name.endswith(_LABEL_SUFFIX) for member, _ in zip(archive, range(16), strict=False))


class ShardReader(Reader):
    """timm's reader interface over WebDataset shards.

    Args:
        paths: the shards of one split.
        class_map: label by class, as the label files spell it; by default classes are sorted as timm sorts names.

    Raises:
        InputError: an image without label; a class that ``class_map`` lacks.
    """

    def __init__(self, paths: Sequence[str], class_map: Mapping[str, int] | None = None):
        super().__init__()
        self.paths = list(paths)
        self.samples: list[tuple[int, int, int, str]] = []  # shard, offset, bytes, class
        for shard, path in enumerate(self.paths):
            self.samples += [(shard, *sample) for sample in _index(path)]
        names = sorted({name for *_, name in self.samples}, key=natural_key)
        self.class_to_idx = dict(class_map) if class_map else {name: label for label, name in enumerate(names)}
        unknown = [name for name in names if name not in self.class_to_idx]
        if unknown:
            raise InputError(f"{self.paths[0]} and its like have classes that training has not: {listed(unknown)}.")
        self._files: dict[int, tuple[int, BinaryIO]] = {}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[BinaryIO, int]:
        shard, offset, size, name = self.samples[index]
        return BytesIO(self._read(shard, offset, size)), self.class_to_idx[name]

    def _read(self, shard: int, offset: int, size: int) -> bytes:
        pid, file = self._files.get(shard, (0, None))
        if pid != os.getpid():  # a forked worker shares its parent's file position
            file = open(self.paths[shard], "rb")  # noqa: SIM115 (kept open: a shard is read many times)
            self._files[shard] = (os.getpid(), file)
        return os.pread(file.fileno(), size, offset)

    def _filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        shard, offset, *_ = self.samples[index]
        return f"{self.paths[shard]} at byte {offset}"


def _index(path: str) -> Iterator[tuple[int, int, str]]:
    """(offset, bytes, class) of each image of a shard."""
    images: dict[str, tuple[int, int]] = {}
    labels: dict[str, str] = {}
    with _open_tar(path) as archive:
        for member in archive:
            folder, base = os.path.split(member.name)
            stem, _, suffix = base.partition(".")
            key = os.path.join(folder, stem)
            if f".{suffix}".lower().endswith(SUFFIXES):
                images[key] = (member.offset_data, member.size)
            elif f".{suffix}" == _LABEL_SUFFIX:
                labels[key] = archive.extractfile(member).read().decode().strip()
    unlabelled = [key for key in images if key not in labels]
    if unlabelled:
        raise InputError(f"{path} has images without a {_LABEL_SUFFIX} file: {listed(unlabelled)}.")
    for key, (offset, size) in images.items():
        yield offset, size, labels[key]
