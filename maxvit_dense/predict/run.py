"""Predicts many images: reads ahead, draws and writes behind, goes on where one cannot be read."""

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
from .images import Item
from .progress import Progress
from .results import Result, count, kind, pieces, select
from .tiles import OVERVIEW, LargeImage, cut_tiles, predict_tiles, shrink
from .write import Writer

_PIXELS = 2**24  # that are read at once
Found = tuple[Item, "np.ndarray | LargeImage", Result]


@dataclass
class Job:
    """What shall be done with each image.

    Attributes:
        predictor: called with a list of images, returns their results; has ``classes`` and perhaps ``palette``.
        batch: images at once.
        score: least score of a detector's objects.
        labels: of the classes that count; None for all.
        stream: the images are of a video, whose pictures have an order, and which an interrupt may end.
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
    stream: bool = False
    show: Callable[[Image.Image, Item], None] | None = None
    writer: Writer | None = None
    unreadable: list[str] = field(default_factory=list)
    objects: int | None = None
    done: int = 0

    @property
    def in_turns(self) -> bool:
        """Whether the network's own threads take every core, so that work beside it would stop them.

        They wait for each other many times an image: a thread beside two of them took 1.6 times as long from them as
        the same work after them (MaxViT-mini, 2 cores).
        """
        return getattr(self.predictor, "threads", 0) >= (os.cpu_count() or 1)

    def cannot_read(self, item: Item, error: InputError) -> None:
        self.unreadable.append(item.name)
        print(f"predict: {error}", file=sys.stderr)


def run(job: Job, items: Iterable[Item], total: int | None) -> Progress:
    """Predict images.

    Two threads read the next ones, draw and write the last ones while some are predicted, or between two calls of the
    network (``Job.in_turns``).

    Returns:
        How many were done, and how fast.
    """
    progress, items, behind, batch = Progress(total), iter(items), [], []
    with ThreadPoolExecutor(1 if job.stream else 2) as pool:

        def next_ones() -> list[tuple[Item, Future]]:
            return [(item, pool.submit(item.read)) for item in islice(items, _number(job, progress, batch))]

        try:
            ahead = next_ones()
            while ahead:
                batch = [pair for item, read in ahead for pair in _read(job, item, read.result)]
                if job.in_turns:
                    _finished(behind)
                else:
                    ahead = next_ones()
                groups = [batch[i : i + job.batch] for i in range(0, len(batch), job.batch)]
                found = [one for group in groups for one in _predicted(job, group)]
                _finished(behind)
                behind = [pool.submit(_write, job, found)] + [pool.submit(_show, job, *one) for one in found]
                progress.add(len(batch))
                if job.in_turns:
                    ahead = next_ones()
        except KeyboardInterrupt:
            if not job.stream:
                raise
        _finished(behind)
    progress.close()
    if job.writer:
        job.writer.close()
    return progress


def _number(job: Job, progress: Progress, last: Sequence[tuple[Item, np.ndarray]]) -> int:
    """How many images are read next.

    Between calls of the network as many as it predicts in a second, since its threads keep their cores for some 15 ms
    after each call, if the memory has room for images like the last ones.
    """
    if job.stream or not job.in_turns or not last:
        return job.batch
    pixels = max(image.size // 3 for _, image in last)
    return max(job.batch, min(int(progress.rate), _PIXELS // pixels))


def _finished(tasks: Sequence[Future]) -> None:
    for task in tasks:
        task.result()


def run_tiles(job: Job, items: Sequence[Item], tile: int, overlap: int) -> Progress:
    """Predict images tile by tile, see ``tiles``; progress and speed are of tiles."""
    opened = [pair for item in items for pair in _read(job, item, partial(LargeImage, item.path))]
    progress = Progress(sum(len(cut_tiles(image.size, tile, overlap)) for _, image in opened), "tiles")
    for item, image in opened:
        try:
            result = predict_tiles(job.predictor, image, tile, overlap, job.batch, job.score, progress.add)
            found = item, image, _wanted(job, result)
            _write(job, [found])
            _show(job, *found)
        except InputError as error:
            job.cannot_read(item, error)
        image.close()
    progress.close()
    if job.writer:
        job.writer.close()
    return progress


def _wanted(job: Job, result: Result) -> Result:
    """What counts of one image's result, its masks cut once for the file and the picture."""
    result = select(result, job.score, job.labels)
    if "masks" in result:
        result["pieces"] = pieces(result)
        del result["masks"]  # or every choice among the objects would copy them
    return result


def _write(job: Job, found: Sequence[Found]) -> None:
    """Count and write, image after image."""
    for item, image, result in found:
        if kind(result) == "detection":
            job.objects = (job.objects or 0) + count(result)
        if job.writer:
            job.writer.add(item, image.size if isinstance(image, LargeImage) else image.shape[:2], result)
        job.done += 1


def _show(job: Job, item: Item, image: np.ndarray | LargeImage, result: Result) -> None:
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


def _read(job: Job, item: Item, read: Callable[[], Any]) -> Iterator[tuple[Item, Any]]:
    """The item with what ``read`` gives; without either where that cannot be read."""
    try:
        yield item, read()
    except InputError as error:
        job.cannot_read(item, error)


def _predicted(job: Job, batch: list[tuple[Item, np.ndarray]]) -> list[Found]:
    """A batch with its results; without images that the predictor does not take, alone if not together."""
    try:
        results = job.predictor([image for _, image in batch])
        return [(*pair, _wanted(job, result)) for pair, result in zip(batch, results, strict=True)]
    except InputError as error:
        if len(batch) > 1:
            return [found for one in batch for found in _predicted(job, [one])]
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
        lacking = listed(unknown) or "such"
        raise InputError(f"--classes {names}: the model has no {lacking}; it has {listed(classes, 20)}.")
    return [classes.index(name) for name in wanted]
