"""Writes the sample data set: COCO, ADE20K and ImageFolder layouts under one directory, all or nothing."""

import io
import json
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..files import written_aside
from .drawing import CLASSES, mask_to_polygons
from .scene import SEMANTIC_CLASSES, Scene, draw_scene, draw_single

_VERSION = 2  # of the pictures: raise it when the same parameters come to draw other files
_MANIFEST = "manifest.json"
_CONTENTS = "maxvit_dense sample data"
_ADE = "ade/ADEChallengeData2016"
_ADE_SPLIT = {"train": "training", "val": "validation"}
_FIRST_ID = {"train": 1, "val": 1_000_001}  # image ids are unique over both splits, as in COCO


def write_sample_data(
    root: str | os.PathLike,
    *,
    train: int = 400,
    val: int = 80,
    size: int = 160,
    seed: int = 0,
    aspect: float | None = None,
    workers: int = 1,
    force: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> bool:
    """Draw the data set into the directory `root`; True if drawn, False if it already lay there complete.

    The files appear all at once. Their bytes depend on the parameters, not on `workers`; between versions of numpy,
    OpenCV, Pillow and libjpeg they may differ.

        root/coco/annotations/instances_{train,val}2017.json, root/coco/{train,val}2017/
        root/ade/ADEChallengeData2016/{images,annotations}/{training,validation}/, .../classes.txt
        root/imagenet/{train,val}/<class>/
        root/manifest.json: parameters and number of files

    Args:
        train, val: scenes a split; each class folder holds half as many pictures, so that a class is seen about as
            often as in the scenes.
        size: pixels, about which the sides vary by a fifth.
        aspect: the greatest ratio of the sides, upright or lying, at the same area; by default that of two sides
            which vary independently, 1.5.
        workers: threads that draw.
        force: redraw over a sample data set that differs; never over anything else.
        progress: called with (pictures done, pictures in all).

    Raises:
        InputError: `root` holds something else, or without `force` a sample data set that differs.
        OSError: the directory cannot be written.
    """
    target = Path(os.path.realpath(root))
    parameters = dict(train=train, val=val, size=size, seed=seed, aspect=aspect)
    manifest = dict(contents=_CONTENTS, version=_VERSION, parameters=parameters, files=_folders(train, val))
    if _lies_there(target, manifest, force):
        return False
    tasks = [(split, kind, i) for split in _ADE_SPLIT for kind, i in _pictures(parameters[split])]
    with written_aside(target) as partial, ThreadPoolExecutor(workers) as pool:
        for folder in manifest["files"]:
            (partial / folder).mkdir(parents=True, exist_ok=True)
        records = {split: [] for split in _ADE_SPLIT}
        try:
            drawn = pool.map(lambda task: _write_picture(partial, size, aspect, seed, *task), tasks)
            for done, ((split, *_), record) in enumerate(zip(tasks, drawn, strict=True), start=1):
                records[split] += record
                progress(done, len(tasks))
        finally:
            pool.shutdown(cancel_futures=True)  # at once after an interrupt
        for split in _ADE_SPLIT:
            content = json.dumps(_coco_file(records[split]), separators=(",", ":"))
            (partial / f"coco/annotations/instances_{split}2017.json").write_text(content)
        (partial / _ADE / "classes.txt").write_text("\n".join(SEMANTIC_CLASSES) + "\n")
        (partial / _MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    return True


def _pictures(scenes: int) -> list[tuple[int, int]]:
    """Kind (0: a scene, else the class from 1) and index of each picture of a split."""
    kinds = [(kind, i) for kind in range(1, len(CLASSES) + 1) for i in range((scenes + 1) // 2)]
    return [(0, i) for i in range(scenes)] + kinds


def _folders(train: int, val: int) -> dict[str, int]:
    """Number of files by folder."""
    folders = {"coco/annotations": 2, _ADE: 1}
    for split, scenes in (("train", train), ("val", val)):
        ade = (f"{_ADE}/{kind}/{_ADE_SPLIT[split]}" for kind in ("images", "annotations"))
        folders |= dict.fromkeys((f"coco/{split}2017", *ade), scenes)
        folders |= {f"imagenet/{split}/{name}": (scenes + 1) // 2 for name in CLASSES}
    return folders


def _lies_there(target: Path, wanted: dict, force: bool) -> bool:
    """Whether the data set is there, complete; InputError if what is there must not be replaced."""
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = json.loads((target / _MANIFEST).read_text())
        there = {"version": found["version"], **found["parameters"]} if found["contents"] == _CONTENTS else None
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, KeyError, TypeError):
        there = None
    if there is None:
        raise InputError(f"{target} is not a sample data set and was left as it is; name another directory.")
    if force:
        return False
    asked = {"version": wanted["version"], **wanted["parameters"]}
    differing = [f"{k} {there.get(k)} there, {asked[k]} asked" for k in asked if there.get(k) != asked[k]]
    if not differing:
        counts = {name: sum(path.is_file() for path in (target / name).glob("*")) for name in wanted["files"]}
        differing = [f"{name}: {counts[name]} of {n} files" for name, n in wanted["files"].items() if counts[name] < n]
    if differing:
        raise InputError(
            f"{target} holds a sample data set that differs ({'; '.join(differing)}); it was left as it is. "
            "Give --force (force=True) to redraw it, or name another directory."
        )
    return True


def _write_picture(
    root: Path, size: int, aspect: float | None, seed: int, split: str, kind: int, index: int
) -> list[tuple[dict, list[dict]]]:
    """Draw and write one picture; of a scene, its COCO image record and annotations (yet without ids)."""
    rng = np.random.default_rng([seed, list(_ADE_SPLIT).index(split), kind, index])
    height, width = size * rng.uniform(0.8, 1.2, size=2)
    if aspect is not None:
        side, ratio = height, aspect ** rng.uniform(-0.5, 0.5)
        height, width = side * ratio, side / ratio
    height, width = round(height), round(width)
    if kind:
        name = CLASSES[kind - 1]
        image = draw_single(rng, height, width, kind - 1).image
        _write_image(root / f"imagenet/{split}/{name}/{name}_{index + 1:06d}.jpg", image)
        return []
    scene = draw_scene(rng, height, width)
    image_id, ade = _FIRST_ID[split] + index, f"{_ADE_SPLIT[split]}/ADE_{split}_{index + 1:08d}"
    for path in (f"coco/{split}2017/{image_id:012d}.jpg", f"{_ADE}/images/{ade}.jpg"):
        _write_image(root / path, scene.image)
    _write_image(root / f"{_ADE}/annotations/{ade}.png", scene.semantic)
    return [_coco_records(scene, image_id)]


def _write_image(path: Path, pixels: np.ndarray) -> None:
    buffer = io.BytesIO()  # Pillow hides the system's error of a full disk
    Image.fromarray(pixels).save(buffer, "JPEG" if path.suffix == ".jpg" else "PNG", quality=92, optimize=True)
    path.write_bytes(buffer.getvalue())


def _coco_records(scene: Scene, image_id: int) -> tuple[dict, list[dict]]:
    height, width = scene.semantic.shape
    image = dict(id=image_id, file_name=f"{image_id:012d}.jpg", height=height, width=width)
    annotations = [
        dict(
            image_id=image_id,
            category_id=instance.label + 1,
            bbox=[float(side) for side in instance.box],
            area=float(instance.mask.sum()),
            iscrowd=0,
            segmentation=mask_to_polygons(instance.mask),
        )
        for instance in scene.instances
    ]
    return image, annotations


def _coco_file(records: list[tuple[dict, list[dict]]]) -> dict:
    annotations = [annotation for _, annotations in records for annotation in annotations]
    return dict(
        info=dict(description="Sample data drawn by maxvit_dense", version=str(_VERSION)),
        licenses=[],
        categories=[dict(id=i, name=name, supercategory="shape") for i, name in enumerate(CLASSES, 1)],
        images=[image for image, _ in records],
        annotations=[dict(id=i, **annotation) for i, annotation in enumerate(annotations, 1)],
    )
