"""Writes a data set in another format as a COCO data root, all or nothing."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

from ...errors import InputError
from ...files import written_aside
from .faults import refuse
from .voc_yolo import SourceSet

MARK = "converted.json"
_CONTENTS = "maxvit_dense conversion to COCO"


def write_coco(source: SourceSet, root: str | os.PathLike, target: str | os.PathLike, copy: bool = False) -> None:
    """Write ``source`` to the directory ``target`` in the layout that the configs read.

        target/annotations/instances_{train,val}2017.json, target/{train,val}2017/, target/converted.json

    Args:
        source: what ``voc_yolo`` read.
        root: where it was read from.
        target: appears when all is written; an earlier conversion there is replaced.
        copy: copy the images; else they are hard links, where the file system allows.

    Raises:
        InputError: ``source`` has faults, or a split without images or without boxes; ``target`` holds something
            else, or ``root``; it cannot be written. Nothing was changed.
    """
    _check_source(source, root)
    target = Path(os.path.realpath(target))
    _check_target(target, Path(os.path.realpath(root)))
    try:
        with written_aside(target) as partial:
            (partial / "annotations").mkdir()
            for split, items in source.splits.items():
                folder = partial / f"{split}2017"
                folder.mkdir()
                for item in items:
                    _place(item.path, folder / item.path.name, copy)
                path = partial / "annotations" / f"instances_{split}2017.json"
                path.write_text(json.dumps(source.coco(split)), encoding="utf-8")
            mark = dict(contents=_CONTENTS, source=source.kind, classes=source.classes)
            (partial / MARK).write_text(json.dumps(mark, indent=2), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"Cannot write {target}: {error}. Nothing there was changed. Free space, or name another directory."
        ) from error


def count_table(source: SourceSet) -> str:
    """Images and boxes of each split and class, in lines of text."""
    columns = list(source.splits)
    rows = [["", *columns], ["images", *(str(len(source.splits[split])) for split in columns)]]
    counts = {split: Counter(e["name"] for item in source.splits[split] for e in item.objects) for split in columns}
    rows.append(["boxes", *(str(counts[split].total()) for split in columns)])
    for flag, text in (("iscrowd", "  difficult"), ("truncated", "  truncated")):
        flagged = [sum(bool(e.get(flag)) for i in source.splits[s] for e in i.objects) for s in columns]
        if any(flagged):
            rows.append([text, *map(str, flagged)])
    rows += [[f"  {name}", *(str(counts[split][name]) for split in columns)] for name in source.classes]
    width = max(len(row[0]) for row in rows)
    return "\n".join(f"{row[0]:<{width}}" + "".join(f"{cell:>9}" for cell in row[1:]) for row in rows)


def _check_source(source: SourceSet, root: str | os.PathLike) -> None:
    refuse(source.faults(), root, "converted")
    for split in ("train", "val"):
        items = source.splits.get(split, [])
        if not any(item.objects for item in items):
            raise InputError(
                f"{root} has no {'boxes' if items else 'images'} for the {split} split. Annotate some, or change its "
                "lists or folders; without any, a part is drawn for validation (--val-fraction)."
            )


def _check_target(target: Path, root: Path) -> None:
    if root == target or target in root.parents:
        raise InputError(f"{target} holds the data set to convert. Name another directory to write.")
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        mark = json.loads((target / MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        mark = None
    if not isinstance(mark, dict) or mark.get("contents") != _CONTENTS:
        raise InputError(
            f"{target} exists and is no conversion of this tool (no {MARK} of one); it was left as it is. "
            "Name another directory."
        )


def _place(image: Path, path: Path, copy: bool) -> None:
    if not copy:
        try:
            os.link(os.path.realpath(image), path)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copyfile(image, path)
