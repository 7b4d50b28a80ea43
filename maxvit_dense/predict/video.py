"""Frames of videos and webcams, and pictures as a video, by OpenCV."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import file_written_aside
from .images import Item

_WHOLE = 0.95  # of the frames that a file tells, which some only estimate
_USUAL_RATE = 25.0  # frames a second, where the source does not tell


def _opencv() -> Any:
    try:
        import cv2
    except ImportError:
        raise InputError("Videos need OpenCV: pip install opencv-python-headless") from None
    cv2.setLogLevel(0)  # what it cannot open gets our message
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    return cv2


class Frame(NamedTuple):
    """An image of a video, beside ``images.Item``."""

    name: str
    path: Path
    pixels: np.ndarray

    def read(self) -> np.ndarray:
        return self.pixels


class Stream:
    """A video, or a webcam by its number.

    Attributes:
        name: of the video without its suffix.
        total: frames; None of a webcam.
        rate: frames a second.
        broken_off: whether the video ended long before the frame that it tells as its last.

    Raises:
        InputError: OpenCV opens no such thing.
    """

    def __init__(self, source: str, most: int | None = None):
        cv2 = _opencv()
        webcam = source.isdecimal() and not Path(source).exists()
        if not webcam and not Path(source).is_file():
            raise InputError(f"There is no video {source}. Check the path.")
        self._capture = cv2.VideoCapture(int(source) if webcam else source)
        read, self._next = self._capture.read()
        if not read:
            what = f"There is no webcam {source}" if webcam else f"Video {source} cannot be read by OpenCV"
            raise InputError(f"{what}. {'Give another number.' if webcam else 'Convert it to MP4.'}")
        self.path, self.name = Path(source), f"webcam{source}" if webcam else Path(source).stem
        self.rate = self._capture.get(cv2.CAP_PROP_FPS) or _USUAL_RATE
        frames = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.most, self.broken_off = most, False
        self.total = most if webcam else min(frames, most or frames) if frames > 0 else None

    def frames(self) -> Iterator[Frame]:
        """Each frame, RGB; its name is the stream's and a number from 1. An interrupt ends it as its own end does."""
        number, read, frame = 0, True, self._next
        try:
            while read and (self.most is None or number < self.most):
                number += 1
                pixels = np.ascontiguousarray(frame[..., ::-1])
                yield Frame(f"{self.name}/{number:06d}.png", self.path, pixels)
                read, frame = self._capture.read()
            self.broken_off = number < _WHOLE * (self.total or 0)
        except KeyboardInterrupt:  # of a webcam's only end
            pass
        finally:
            self._capture.release()


@contextmanager
def film(path: Path, rate: float) -> Iterator[Callable[[Image.Image, Item], None]]:
    """What takes pictures of one size, which are a video at ``path`` in the end; there is none before."""
    cv2 = _opencv()
    with file_written_aside(path) as partial:
        named = partial.with_name(f"{partial.name}.mp4")  # OpenCV goes by the suffix
        writer = cv2.VideoWriter()

        def add(picture: Image.Image, item: Item) -> None:
            if not writer.isOpened():
                writer.open(str(named), cv2.VideoWriter_fourcc(*"mp4v"), rate, picture.size)
            writer.write(np.asarray(picture)[..., ::-1])

        try:
            yield add
            writer.release()
            named.replace(partial)
        finally:
            writer.release()
            named.unlink(missing_ok=True)
