"""Which format a folder is in, seen from what lies there, and its reader."""

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import NamedTuple

from ....errors import InputError
from ..choice import Choice
from ..faults import refuse
from ..layouts.class_folders import SPLIT_NAMES, class_folders
from ..layouts.coco_check import category_names, inspect_coco
from ..layouts.coco_file import find_coco, read_annotations
from ..layouts.mask_folders import find_mask_folder
from .labelme import is_labelme, read_labelme
from .sources import VAL_FRACTION, SourceSet, read_coco_folder
from .voc import is_labelimg, is_voc, read_labelimg, read_voc
from .yolo import is_yolo, read_yolo


class _Format(NamedTuple):
    """How a format of boxes is recognised and read; the first that fits a folder counts."""

    fits: Callable[[Path], object]
    read: Callable[[Path, Sequence[str], float], SourceSet]


FORMATS = {
    "COCO": _Format(find_coco, read_coco_folder),
    "VOC": _Format(is_voc, read_voc),
    "YOLO": _Format(is_yolo, read_yolo),
    "labelme": _Format(is_labelme, read_labelme),
    "labelImg": _Format(is_labelimg, read_labelimg),
}
MASKS, FOLDERS = "masks", "ImageFolder"
_KNOWN = (
    "COCO's JSON under any names, images and masks (images/ beside masks/ or annotations/, img_dir/ and ann_dir/, "
    "train/ and trainannot/, Cityscapes, VOC SegmentationClass), class folders (train/<class>/), VOC (Annotations/ and "
    "JPEGImages/), YOLO (images/ and labels/), labelme's JSON, labelImg's XML"
)


def find_format(root: Path) -> str:
    """The format of a folder: a key of ``FORMATS``, ``MASKS`` or ``FOLDERS``.

    Raises:
        InputError: it is none of them.
    """
    if not root.is_dir():
        raise InputError(f"There is no folder {root}. Give that of a data set.")
    for name in ("COCO", "VOC", "YOLO"):
        if FORMATS[name].fits(root) and not (name == "VOC" and _masks_alone(root)):
            return name
    if find_mask_folder(root):
        return MASKS
    for name in ("labelme", "labelImg"):
        if FORMATS[name].fits(root):
            return name
    if any({*class_folders(str(folder))} - {"images", "labels"} for folder in split_folders(root).values()):
        return FOLDERS
    raise InputError(f"{root} has none of the known layouts: {_KNOWN}. Give the folder that holds these.")


def read_boxes(
    root: Path, kind: str, choice: Choice, val_fraction: float = VAL_FRACTION, passed: Collection[str] = ()
) -> SourceSet:
    """Read a data set to convert, in a format of ``FORMATS``, with the classes of a choice.

    Args:
        root, kind: its folder and format.
        choice: of classes.
        val_fraction: of the images, drawn for validation where none are named.
        passed: kinds of faults in COCO files that are let pass.

    Raises:
        InputError: no such classes; the faults of the first COCO file that has some, before a reader trips over them;
            as the format's reader.
    """
    for part in find_coco(root) if kind == "COCO" else ():
        names = category_names(str(part.path))
        faults = inspect_coco(read_annotations(part.path), str(part.images), names, evaluated=True, shapes=True)
        refuse((fault for fault in faults if fault.kind not in passed), part.path, "converted")
    source = FORMATS[kind].read(root, choice.names, val_fraction)
    source.choose(choice)
    return source


def _masks_alone(root: Path) -> bool:
    """Whether a VOC folder has masks and no boxes."""
    return find_mask_folder(root) is not None and not any((root / "Annotations").glob("*.xml"))


def split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split of class folders, as training finds it."""
    folders = {}
    for split, names in SPLIT_NAMES.items():
        folder = next((root / name for name in names if (root / name).is_dir()), None)
        if folder:
            folders[split] = folder
    return folders
