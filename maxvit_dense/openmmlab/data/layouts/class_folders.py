"""Folders of class folders, tar files of them, WebDataset shards: which layout it is, and its class names.

    root/train/<class>/*.jpg    root/train.tar (train/<class>/...)    root/train/<class>.tar    root/train/*.tar
    root/val/<class>/*.jpg      root/val.tar                          root/val/<class>.tar      (jpg + cls: shards)

"train" and "val" go by timm's other names too: training, validation, valid, eval, test.
"""

import os
import tarfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from timm.data.readers.reader import Reader
from timm.data.readers.reader_image_folder import ReaderImageFolder
from timm.data.readers.reader_image_in_tar import ReaderImageInTar
from timm.utils.misc import natural_key

from ....errors import InputError, listed
from ..faults import Fault, found, refuse
from ..image_check import SUFFIXES
from .class_shards import ShardReader, damaged_tar, find_shards

# timm reads with Pillow and turns no image.
AS_TIMM_READS = dict.fromkeys(("rotated image", "rotated WebP"), "unturned image")
SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "validation", "valid", "eval", "test")}


@dataclass(frozen=True)
class Split:
    """Where the images of one split lie.

    Attributes:
        path: the folder, or the tar file.
        kind: "folders", "tar" (one file, or one for each class) or "shards" (WebDataset).
        shards: the tar files of the last kind.
    """

    path: str
    kind: str
    shards: tuple[str, ...] = ()


def find_split(root: str, split: str) -> Split:
    """Find a split below a data root.

    Args:
        root: folder of the data set.
        split: "train" or "val".

    Raises:
        InputError: nothing there is laid out in a way that is known.
    """
    names = SPLIT_NAMES[split]
    for name in names:
        folder, tar = os.path.join(root, name), os.path.join(root, f"{name}.tar")
        if os.path.isdir(folder):
            return _folder_split(folder)
        if os.path.isfile(tar):
            return Split(tar, "tar")
    shards = find_shards(root, names)
    if shards:
        return Split(root, "shards", tuple(shards))
    raise InputError(
        f"{root} has no {split} images. Lay them out as {root}/{names[0]}/<class>/*.jpg, as {root}/{names[0]}.tar of "
        f"such folders, or as WebDataset shards {root}/{names[0]}/*.tar; --data-root names the folder."
    )


def open_reader(split: Split, classes: Iterable[str] | None = None) -> Reader:
    """timm's reader of a split.

    Args:
        split: of ``find_split``.
        classes: names in the order of their labels; by default those of the split, sorted as timm sorts them.

    Raises:
        InputError: there are no images; a tar file is damaged.
    """
    class_map = {name: label for label, name in enumerate(classes)} if classes else ""
    if split.kind == "shards":
        return ShardReader(split.shards, class_map or None)
    try:
        if split.kind == "tar":
            return ReaderImageInTar(split.path, class_map=class_map)
        return ReaderImageFolder(split.path, class_map=class_map, input_key=";".join(SUFFIXES))
    except tarfile.TarError as error:
        raise damaged_tar(split.path, error) from error
    except (RuntimeError, AssertionError, ValueError) as error:  # timm's words for an empty folder or archive
        raise InputError(f"No images of known classes in {split.path}: {error}") from error


def read_classes(split: Split) -> dict[str, list[str]]:
    """Paths of the images of each class of a split, in the order of labels; of tar files the classes alone.

    Raises:
        InputError: what ``images_by_class`` finds; fewer than two classes.
    """
    if split.kind == "folders":
        classes, faults = images_by_class(split.path)
    else:
        reader = open_reader(split)
        labels = reader.class_to_idx if hasattr(reader, "class_to_idx") else reader.class_name_to_idx
        classes = {name: [] for name in sorted(labels, key=labels.get)}
        faults = _too_few(classes)
    refuse(faults, split.path)
    return classes


def class_folders(folder: str) -> list[str]:
    """Names of the class folders of a split, as timm sorts them."""
    return _listed(folder)[1]


def images_by_class(folder: str) -> tuple[dict[str, list[str]], list[Fault]]:
    """Paths of the images in each class folder, as timm sorts them, and what is wrong, by one listing of each.

    Wrong are images that belong to no class, classes without images, and fewer classes than two.
    """
    beside, names = _listed(folder)
    classes, places = {}, {"unsorted image": beside, "empty class": [], "nested image": []}
    for name in names:
        images, below = _listed(os.path.join(folder, name))
        classes[name] = [os.path.join(folder, name, image) for image in images]
        places["empty class"] += [] if images else [name]
        places["nested image"] += [f"{name}/{each}" for each in below if _listed(os.path.join(folder, name, each))[0]]
    return classes, [*found(places, suffixes=", ".join(SUFFIXES)), *_too_few(classes)]


def compare_classes(train: tuple[str, ...], val: tuple[str, ...], train_path: str, val_path: str) -> None:
    """Refuse splits of different classes: labels are numbered by them.

    Raises:
        InputError: names that one of them lacks.
    """
    lacking = {val_path: sorted(set(train) - set(val)), train_path: sorted(set(val) - set(train))}
    told = [f"{path} lacks {len(names)} ({listed(names)})" for path, names in lacking.items() if names]
    if told:
        raise InputError(f"The classes of {train_path} and {val_path} differ: {'; '.join(told)}. Give both the same.")


def _folder_split(folder: str) -> Split:
    shards = find_shards(folder, ("",))
    if shards:
        return Split(folder, "shards", tuple(shards))
    with os.scandir(folder) as entries:
        holds_tar = any(entry.name.endswith(".tar") for entry in entries)
    return Split(folder, "tar" if holds_tar else "folders")


def _listed(folder: str) -> tuple[list[str], list[str]]:
    """Names of the images and of the folders in a folder."""
    with os.scandir(folder) as listing:
        entries = list(listing)
    images = sorted(entry.name for entry in entries if entry.name.lower().endswith(SUFFIXES) and entry.is_file())
    folders = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
    return images, sorted(folders, key=natural_key)


def _too_few(classes: Collection[str]) -> list[Fault]:
    return found({"too few classes": [listed(classes) or "none"] if len(classes) < 2 else []})
