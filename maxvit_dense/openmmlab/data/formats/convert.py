"""Writes a data set of any format as one that training reads, all or nothing: a COCO data root, or images and masks."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image, ImageOps

from ....errors import InputError
from ....files import written_aside
from ..faults import found, refuse
from ..image_check import refuse_no_file
from ..layouts.coco_check import inspect_coco, misplaced
from ..layouts.mask_files import Labels, labels_of_colours, pair_files
from ..layouts.mask_folders import MaskFolder
from ..splits import SPLITS
from .sources import VAL_FRACTION, SourceSet, divide

_MARK = "converted.json"
_CONTENTS = "maxvit_dense conversion to COCO"
MENDABLE = ("box outside", "flat polygon", "annotation id")  # faults that SourceSet.mend, or writing, puts right
LEFT = ("both splits", "outside image")  # as they are
_ORIENTATION_TAG = 274


def write_coco(source: SourceSet, root: str | os.PathLike, target: str | os.PathLike, copy: bool = False) -> None:
    """Write ``source`` to the directory ``target`` in the layout that the configs read.

        target/annotations/instances_{train,val}2017.json, target/{train,val}2017/, target/converted.json

    Args:
        source: what a reader of ``formats`` read.
        root: where it was read from.
        target: appears when all is written; an earlier conversion there is replaced.
        copy: copy the images; else they are hard links, where the file system allows.

    Raises:
        InputError: ``source`` has faults, as training would find them, or a split without images or without boxes;
            ``target`` holds something else, or ``root``; it cannot be written. Nothing was changed.
    """
    _check_source(source, root)
    with _written(root, target, dict(source=source.kind, classes=source.classes)) as partial:
        (partial / "annotations").mkdir()
        for split in SPLITS:
            folder = partial / f"{split}2017"
            folder.mkdir()
            for item in source.splits[split]:
                _place(item.path, folder / item.path.name, copy or item.upright is not None, item.upright)
            path = partial / "annotations" / f"instances_{split}2017.json"
            path.write_text(json.dumps(source.coco(split)), encoding="utf-8")


def write_masks(
    folder: MaskFolder,
    labels: Labels,
    target: str | os.PathLike,
    copy: bool = False,
    val_fraction: float = VAL_FRACTION,
) -> dict[str, int]:
    """Write images and masks as ``images/{train,val}``, ``masks/{train,val}`` and ``classes.json``.

    Args:
        folder: of ``mask_folders.find_mask_folder``; its faults are for ``dataset_check`` to find.
        labels: what the values in the masks mean; they stay as they are, but that colours become values.
        target, copy: as of ``write_coco``.
        val_fraction: of the images, drawn for validation where there is no such split.

    Returns:
        The number of images of each split.

    Raises:
        InputError: no images with masks, or two of a name; ``target`` cannot be used.
    """
    pairs = {name: pair_files(f.images, f.masks, f.endings, f.listed) for name, f in folder.splits.items()}
    refuse(
        found({"duplicate name": [name for pair in pairs.values() for name in pair.twice]}), folder.root, "converted"
    )
    members = {name: [(p.images[s], p.masks[s]) for s in p.images if s in p.masks] for name, p in pairs.items()}
    if not members.get("train"):
        raise InputError(f"{folder.root} has no training images with masks ({folder.kind}).")
    if not members.get("val"):
        members = divide(members["train"], val_fraction, SourceSet(folder.kind))
    names = {str(value): name for value, name in labels.named.items()} | {str(v): None for v in sorted(labels.void)}
    with _written(folder.root, target, dict(source=folder.kind, classes=list(labels.classes))) as partial:
        for split, files in members.items():
            for kind in ("images", "masks"):
                (partial / kind / split).mkdir(parents=True)
            for image, mask in files:
                name = "_".join(image.relative_to(folder.splits.get(split, folder.splits["train"]).images).parts)
                _place(image, partial / "images" / split / name, copy)
                path = partial / "masks" / split / Path(name).with_suffix(mask.suffix).name
                if folder.colours:
                    with Image.open(mask) as opened:
                        Image.fromarray(labels_of_colours(opened, folder.colours)).save(path, "PNG")
                else:
                    _place(mask, path, copy)
        (partial / "classes.json").write_text(json.dumps(names, ensure_ascii=False, indent=2), encoding="utf-8")
    return {split: len(files) for split, files in members.items()}


@contextmanager
def _written(root: str | os.PathLike, target: str | os.PathLike, facts: dict) -> Iterator[Path]:
    """The folder to fill, which takes the place of ``target`` with a mark of what it is."""
    target = Path(os.path.realpath(target))
    _check_target(target, Path(os.path.realpath(root)))
    try:
        with written_aside(target) as partial:
            yield partial
            text = json.dumps(dict(contents=_CONTENTS, **facts), indent=2)
            (partial / _MARK).write_text(text, encoding="utf-8")
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
    for split in SPLITS:
        items = source.splits.get(split, [])
        if not any(item.objects for item in items):
            raise InputError(
                f"{root} has no {'boxes' if items else 'images'} for the {split} split. Annotate some, or change its "
                "lists or folders; without any, a part is drawn for validation (--val-fraction)."
            )
        names = Counter(item.path.name for item in items)
        twice = [name for name, count in names.items() if count > 1]
        folder = source.folder(split)
        faults = inspect_coco(
            source.coco(split, folder), str(folder), source.classes, evaluated=split == "val", shapes=True
        )
        refuse([*found({"duplicate name": twice}), *faults], f"The {split} images of {root}", "converted")
        source.places["outside image"] += misplaced((str(item.path) for item in items), str(root))[1]


def _check_target(target: Path, root: Path) -> None:
    if root == target or target in root.parents:
        raise InputError(f"{target} holds the data set to convert. Name another directory to write.")
    if not os.path.lexists(target) or (target.is_dir() and not any(target.iterdir())):
        return
    try:
        mark = json.loads((target / _MARK).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        mark = None
    if not isinstance(mark, dict) or mark.get("contents") != _CONTENTS:
        raise InputError(
            f"{target} exists and is no conversion of this tool (no {_MARK} of one); it was left as it is. "
            "Name another directory."
        )


def _place(image: Path, path: Path, copy: bool, upright: bool | None = None) -> None:
    """Link or copy an image; ``upright`` has its pixels turned by the EXIF orientation, or that dropped (False)."""
    refuse_no_file(image)
    if upright is not None:
        with Image.open(image) as opened:
            turned = ImageOps.exif_transpose(opened) if upright else opened.copy()
            exif = turned.getexif()
            exif.pop(_ORIENTATION_TAG, None)
            turned.save(path, opened.format, exif=exif, **(dict(quality=95) if opened.format == "JPEG" else {}))
        return
    if not copy:
        try:
            os.link(os.path.realpath(image), path)
            return
        except OSError:  # another disk, or a file system without links
            pass
    shutil.copyfile(image, path)
