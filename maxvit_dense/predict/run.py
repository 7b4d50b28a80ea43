"""Predicts many images: reads ahead, draws and writes behind, goes on where one cannot be read."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import InputError, listed
from ..files import file_written_aside
from .draw import draw
from .images import Item, read_image
from .progress import Progress
from .results import Result, count, kind, pieces, select
from .tiles import OVERVIEW, LargeImage, cut_tiles, predict_tiles, shrink
from .write import Writer


@dataclass
class Job:
    """What shall be done with each image.

    Attributes:
        predictor: called with a list of images, returns their results; has ``classes`` and perhaps ``palette``.
        batch: images at once.
        score: least score of a detector's objects.
        labels: of the classes that count; None for all.
        show: takes each picture with its item; None where no pictures are wanted.
        writer: of results; None for none.
        unreadable: what could not be read, filled by :func:`run`.
        objects: how many were found, or None where the task has none.
        done: images.
    """

    predictor: Callable[[list], list[Result]]
    batch: int = 1
    score: float = 0.5
    labels: Sequence[int] | None = None
    show: Callable[[Image.Image, Item], None] | None = None
    writer: Writer | None = None
    unreadable: list[str] = field(default_factory=list)
    objects: int | None = None
    done: int = 0

    @property
    def beside(self) -> int:
        """Batches that are read, and that are drawn, while one is predicted.

        None where the network's own threads take every core: they wait for each other many times an image, so that a
        thread beside two of them took 1.6 times as long from them as the same work after them (MaxViT-mini, 2 cores).
        """
        return 0 if getattr(self.predictor, "threads", 0) >= (os.cpu_count() or 1) else 2

    def cannot_read(self, item: Item, error: InputError) -> None:
        self.unreadable.append(item.name)
        print(f"predict: {error}", file=sys.stderr)


def run(job: Job, images: Iterator[tuple[Item, np.ndarray]], total: int | None) -> Progress:
    """Predict images.

    One thread draws and writes, image after image, while the next ones are predicted (``Job.beside``).

    Returns:
        How many were done, and how fast.
    """
    progress, unfinished = Progress(total), deque()
    with ThreadPoolExecutor(1) as pool:
        while batch := list(islice(images, job.batch)):
            while len(unfinished) > job.beside * job.batch:
                unfinished.popleft().result()
            for (item, image), result in _predicted(job, batch):
                if job.beside:
                    unfinished.append(pool.submit(_finish, job, item, image, result))
                else:
                    _finish(job, item, image, result)
            progress.add(len(batch))
        while unfinished:
            unfinished.popleft().result()
    progress.close()
    if job.writer:
        job.writer.close()
    return progress


def run_tiles(job: Job, items: Sequence[Item], tile: int, overlap: int) -> Progress:
    """Predict images tile by tile, see ``tiles``; progress and speed are of tiles."""
    opened = [pair for item in items for pair in _read(job, item, partial(LargeImage, item.path))]
    progress = Progress(sum(len(cut_tiles(image.size, tile, overlap)) for _, image in opened), "tiles")
    for item, image in opened:
        try:
            result = predict_tiles(job.predictor, image, tile, overlap, job.batch, job.score, progress.add)
            _finish(job, item, image, result)
        except InputError as error:
            job.cannot_read(item, error)
        image.close()
    progress.close()
    if job.writer:
        job.writer.close()
    return progress


def _finish(job: Job, item: Item, image: np.ndarray | LargeImage, result: Result) -> None:
    """Count, write and draw one image's result."""
    result = select(result, job.score, job.labels)
    if "masks" in result:  # cut once for the file and the picture
        result["pieces"] = pieces(result)
    if kind(result) == "detection":
        job.objects = (job.objects or 0) + count(result)
    if job.writer:
        job.writer.add(item, image.size if isinstance(image, LargeImage) else image.shape[:2], result)
    job.done += 1
    if not job.show:
        return
    if isinstance(image, LargeImage):
        factor = -(-max(image.size) // OVERVIEW)
        image, result = image.overview(factor), shrink(result, factor)
    picture = draw(image, result, job.predictor.classes, getattr(job.predictor, "palette", None))
    job.show(picture, item)


def save_picture(folder: Path, picture: Image.Image, item: Item) -> None:
    """Under the name of its image, in the format that the name tells."""
    path = folder / item.name
    with file_written_aside(path) as partial:
        picture.save(partial, Image.registered_extensions()[path.suffix.lower()], quality=92)


def read_ahead(job: Job, items: Sequence[Item]) -> Iterator[tuple[Item, np.ndarray]]:
    """Items with their pixels, without those that cannot be read; some are read while others are predicted."""
    waiting: deque = deque()
    with ThreadPoolExecutor(2) as pool:
        for item in items:
            read = pool.submit(read_image, item.path).result if job.beside else partial(read_image, item.path)
            waiting.append((item, read))
            if len(waiting) > job.beside * job.batch:
                yield from _read(job, *waiting.popleft())
        while waiting:
            yield from _read(job, *waiting.popleft())


def _read(job: Job, item: Item, read: Callable[[], Any]) -> Iterator[tuple[Item, Any]]:
    """The item with what ``read`` gives; without either where that cannot be read."""
    try:
        yield item, read()
    except InputError as error:
        job.cannot_read(item, error)


def _predicted(job: Job, batch: list[tuple[Item, np.ndarray]]) -> list[tuple[tuple[Item, np.ndarray], Result]]:
    """A batch with its results; without images that the predictor does not take, alone if not together."""
    try:
        return list(zip(batch, job.predictor([image for _, image in batch]), strict=True))
    except InputError as error:
        if len(batch) > 1:
            return [pair for one in batch for pair in _predicted(job, [one])]
        item, _ = batch[0]
        job.cannot_read(item, InputError(f"{item.path}: {error}"))
        return []


def class_labels(names: str, classes: Sequence[str]) -> list[int]:
    """Labels of classes given as "person,car".

    Raises:
        InputError: one that the model does not know.
    """
    wanted = [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in classes]
    if unknown or not wanted:
        raise InputError(f"--classes {names}: the model has no {listed(unknown)}; it has {listed(classes, 20)}.")
    return [classes.index(name) for name in wanted]
