"""Writes the sample data set: COCO, ADE20K and ImageFolder layouts under one directory, all or nothing."""

import functools
import io
import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ..files import written_aside
from .polygons import mask_to_polygons
from .scene import SEMANTIC_CLASSES, Scene, draw_scene, draw_single
from .shapes import CLASSES

VERSION = 1  # of the pictures: raise it when the same parameters come to draw other files
MANIFEST = "manifest.json"
_CONTENTS = "maxvit_dense sample data"

_COCO = Path("coco")
_ADE = Path("ade/ADEChallengeData2016")
_FOLDERS = Path("imagenet")
_ADE_SPLIT = {"train": "training", "val": "validation"}
_SPLITS = tuple(_ADE_SPLIT)
_FIRST_ID = {"train": 1, "val": 1_000_001}  # image ids are unique over both splits, as in COCO

_LIMITS = {"train": (1, 1_000_000), "val": (1, 1_000_000), "size": (32, 2048), "seed": (0, 2**32 - 1)}
_SIDE_RANGE = (0.8, 1.2)  # a picture's height and width over `size`, drawn apart


class SampleDataConflict(FileExistsError):
    """The directory holds something that the call may not replace."""


@dataclass(frozen=True)
class Parameters:
    """What decides every byte of the data set.

    train, val: scenes a split; each class folder holds half as many pictures, so that a class is seen about
    as often as in the scenes. size: pixels, about which the sides vary by a fifth.
    """

    train: int = 400
    val: int = 80
    size: int = 160
    seed: int = 0

    def __post_init__(self):
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ValueError(f"{name} is {value!r}; give a whole number from {least} to {most}")

    def scenes(self, split: str) -> int:
        return getattr(self, split)

    def class_pictures(self, split: str) -> int:
        """Pictures in each class folder."""
        return (self.scenes(split) + 1) // 2


@dataclass(frozen=True)
class _Task:
    """One picture: a scene (label None) or a picture of one shape, by its place in the split."""

    split: str
    label: int | None
    index: int


def write_sample_data(
    root: str | os.PathLike,
    *,
    train: int = Parameters.train,
    val: int = Parameters.val,
    size: int = Parameters.size,
    seed: int = Parameters.seed,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> bool:
    """Draw the data set into the directory `root`; True if drawn, False if it already lay there complete.

    The files appear all at once: they are drawn into a hidden directory beside `root`, which is renamed at
    the end and removed after a failure. Their bytes depend on the parameters, not on `workers`; between
    versions of numpy, Pillow and libjpeg they may differ.

        root/coco/annotations/instances_{train,val}2017.json, root/coco/{train,val}2017/
        root/ade/ADEChallengeData2016/{images,annotations}/{training,validation}/, .../classes.txt
        root/imagenet/{train,val}/<class>/
        root/manifest.json: parameters and number of files

    Args:
        train, val, size, seed: see Parameters.
        workers: processes that draw; more than one needs a main module that can be imported (`spawn`).
        force: redraw over a sample data set that differs; never over anything else.
        progress: called with (pictures done, pictures in all).

    Raises:
        ValueError: a parameter is out of range.
        SampleDataConflict: `root` holds something else, or without `force` a sample data set that differs.
        OSError: the directory cannot be written.
    """
    parameters = Parameters(train, val, size, seed)
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 1:
        raise ValueError(f"workers is {workers!r}; give a whole number from 1")
    target = Path(os.path.realpath(root))
    manifest = _manifest(parameters)
    if _lies_there(target, manifest, force):
        return False
    with written_aside(target) as partial:
        _draw_all(partial, parameters, workers, progress or (lambda done, total: None))
        _write_json(partial / MANIFEST, manifest, indent=2)
    return True


def _manifest(parameters: Parameters) -> dict:
    files = {}
    for split, ade_split in _ADE_SPLIT.items():
        files[f"{_COCO}/{split}2017"] = parameters.scenes(split)
        files[f"{_ADE}/images/{ade_split}"] = parameters.scenes(split)
        files[f"{_ADE}/annotations/{ade_split}"] = parameters.scenes(split)
        files |= {f"{_FOLDERS}/{split}/{name}": parameters.class_pictures(split) for name in CLASSES}
    files |= {f"{_COCO}/annotations": len(_SPLITS), f"{_ADE}": 1}
    return {"contents": _CONTENTS, "version": VERSION, "parameters": asdict(parameters), "files": files}


def _lies_there(target: Path, wanted: dict, force: bool) -> bool:
    """Whether the data set is there, complete; SampleDataConflict if what is there must not be replaced."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    found = _read_manifest(target)
    if found is None:
        raise SampleDataConflict(
            f"{target} exists and is not a sample data set (no {MANIFEST} of one); it was left as it is. "
            "Name another directory."
        )
    if force:
        return False
    there, asked = ({"version": m["version"], **m["parameters"]} for m in (found, wanted))
    differing = [f"{k} {there.get(k)} there, {asked[k]} asked" for k in asked if there.get(k) != asked[k]]
    differing = differing or _missing_files(target, wanted["files"])
    if differing:
        raise SampleDataConflict(
            f"{target} holds a sample data set that differs ({'; '.join(differing)}); it was left as it is. "
            "Give --force (force=True) to redraw it, or name another directory."
        )
    return True


def _read_manifest(target: Path) -> dict | None:
    """The manifest of the sample data set in a directory; None if there is none of ours."""
    try:
        manifest = json.loads((target / MANIFEST).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
        return None
    if not isinstance(manifest, dict) or manifest.get("contents") != _CONTENTS:
        return None
    parameters = manifest.get("parameters")
    known = parameters if isinstance(parameters, dict) else {}
    return {"version": manifest.get("version"), "parameters": known}


def _missing_files(target: Path, files: dict[str, int]) -> list[str]:
    """What a data set lacks, in words: folder and number of files there and wanted."""
    counts = {}
    for folder in files:
        path = target / folder
        counts[folder] = sum(entry.is_file() for entry in path.iterdir()) if path.is_dir() else 0
    return [f"{folder}: {counts[folder]} of {n} files" for folder, n in files.items() if counts[folder] < n]


def _draw_all(root: Path, parameters: Parameters, workers: int, progress: Callable[[int, int], None]) -> None:
    """Draw and write every picture, then the annotation files."""
    for folder in _manifest(parameters)["files"]:
        (root / folder).mkdir(parents=True, exist_ok=True)
    tasks = _tasks(parameters)
    records: dict[str, list[tuple[dict, list[dict]]]] = {split: [] for split in _SPLITS}
    progress(0, len(tasks))
    with _mapper(workers) as mapped:
        drawn = mapped(functools.partial(_draw_one, root, parameters), tasks)
        for done, (task, record) in enumerate(zip(tasks, drawn, strict=True), start=1):
            if record is not None:
                records[task.split].append(record)
            progress(done, len(tasks))
    for split in _SPLITS:
        _write_json(root / _COCO / "annotations" / f"instances_{split}2017.json", _coco_file(records[split]))
    (root / _ADE / "classes.txt").write_text("\n".join(SEMANTIC_CLASSES) + "\n", encoding="utf-8")


def _tasks(parameters: Parameters) -> list[_Task]:
    tasks = []
    for split in _SPLITS:
        tasks += [_Task(split, None, i) for i in range(parameters.scenes(split))]
        per_class = range(parameters.class_pictures(split))
        tasks += [_Task(split, label, i) for label in range(len(CLASSES)) for i in per_class]
    return tasks


@contextmanager
def _mapper(workers: int):
    """`map`, over a pool of processes if there is to be more than one."""
    if workers == 1:
        yield map
        return
    # Spawned, not forked: the caller may hold torch's threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_leave_interrupts_to_parent) as pool:
        yield functools.partial(pool.map, chunksize=16)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _draw_one(root: Path, parameters: Parameters, task: _Task) -> tuple[dict, list[dict]] | None:
    """Draw and write one picture; for a scene, its COCO image record and annotations (yet without ids)."""
    kind = 0 if task.label is None else task.label + 1
    rng = np.random.default_rng([parameters.seed, _SPLITS.index(task.split), kind, task.index])
    height, width = (round(parameters.size * rng.uniform(*_SIDE_RANGE)) for _ in range(2))
    if task.label is not None:
        scene = draw_single(rng, height, width, task.label)
        folder = root / _FOLDERS / task.split / CLASSES[task.label]
        (folder / f"{CLASSES[task.label]}_{task.index + 1:06d}.jpg").write_bytes(_encode(scene.image, "JPEG"))
        return None
    scene = draw_scene(rng, height, width)
    image_id = _FIRST_ID[task.split] + task.index
    jpeg, ade_split = _encode(scene.image, "JPEG"), _ADE_SPLIT[task.split]
    (root / _COCO / f"{task.split}2017" / f"{image_id:012d}.jpg").write_bytes(jpeg)
    ade_name = f"ADE_{task.split}_{task.index + 1:08d}"
    (root / _ADE / "images" / ade_split / f"{ade_name}.jpg").write_bytes(jpeg)
    label_map = _encode(scene.semantic, "PNG")
    (root / _ADE / "annotations" / ade_split / f"{ade_name}.png").write_bytes(label_map)
    return _coco_records(scene, image_id)


def _encode(pixels: np.ndarray, kind: str) -> bytes:
    """In memory first, so that a full disk shows as the system's own error when the bytes are written."""
    buffer = io.BytesIO()
    options = {"quality": 92} if kind == "JPEG" else {"optimize": True}
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def _coco_records(scene: Scene, image_id: int) -> tuple[dict, list[dict]]:
    height, width = scene.semantic.shape
    image = {"id": image_id, "file_name": f"{image_id:012d}.jpg", "height": height, "width": width}
    annotations = [
        {
            "image_id": image_id,
            "category_id": instance.label + 1,
            "bbox": [float(side) for side in instance.box],
            "area": float(instance.mask.sum()),
            "iscrowd": 0,
            "segmentation": mask_to_polygons(instance.mask),
        }
        for instance in scene.instances
    ]
    return image, annotations


def _coco_file(records: list[tuple[dict, list[dict]]]) -> dict:
    annotations = [annotation for _, annotations in records for annotation in annotations]
    categories = [{"id": i, "name": name, "supercategory": "shape"} for i, name in enumerate(CLASSES, 1)]
    return {
        "info": {"description": "Sample data drawn by maxvit_dense", "version": str(VERSION)},
        "licenses": [],
        "categories": categories,
        "images": [image for image, _ in records],
        "annotations": [{"id": i, **annotation} for i, annotation in enumerate(annotations, 1)],
    }


def _write_json(path: Path, content: dict, indent: int | None = None) -> None:
    separators = (",", ":") if indent is None else None
    path.write_text(json.dumps(content, indent=indent, separators=separators) + "\n", encoding="utf-8")
