"""Folders of images and masks as they are published and exported: where each split lies and what its values mean.

images/train/a.jpg        masks/train/a.png (classes from 0), annotations/train/a.png (ADE20K: 0 is unlabelled)
img_dir/train/a.jpg       ann_dir/train/a.png                                      mmsegmentation
train/a.jpg               trainannot/a.png, train_labels/a.png, train_masks/a.png  CamVid
leftImg8bit/train/c/a_leftImg8bit.png    gtFine/train/c/a_gtFine_labelIds.png      Cityscapes
JPEGImages/a.jpg          SegmentationClass/a.png, ImageSets/Segmentation/train.txt    VOC; with labelmap.txt CVAT's
"""

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ....errors import InputError
from ..image_check import SUFFIXES
from ..splits import SPLITS

IGNORED_LABEL = 255  # of masks: no class, no loss
_LISTS = ("classes.json", "classes.txt", "class_names.txt")
_ADE_FOLDER, _ADE_LIST = "ADEChallengeData2016", "objectInfo150.txt"
_BESIDE = ("{}annot", "{}_annot", "{}_labels", "{}_masks")

# CamVid as SegNet's authors published it, in the order of its values; 11 is void.
_CAMVID = "sky building pole road pavement tree sign fence car pedestrian bicyclist"
# Cityscapes' labelIds that are evaluated (cityscapesScripts, helpers/labels.py); the others of 0 to 33 are not.
_CITYSCAPES = {
    **{7: "road", 8: "sidewalk", 11: "building", 12: "wall", 13: "fence", 17: "pole", 19: "traffic light"},
    **{20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky", 24: "person", 25: "rider", 26: "car"},
    **{27: "truck", 28: "bus", 31: "train", 32: "motorcycle", 33: "bicycle"},
}
_VOC = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
    "pottedplant sheep sofa train tvmonitor"
)


@dataclass(frozen=True)
class SplitFiles:
    """Where the files of a split lie.

    Attributes:
        images, masks: their folders.
        endings: what the names of images and masks have more than the one that they share.
        listed: file with the names of the split, one a line; None where all of the folder belong to it.
    """

    images: Path
    masks: Path
    endings: tuple[str, str] = ("", "")
    listed: Path | None = None


@dataclass(frozen=True)
class MaskFolder:
    """A data set of images and masks.

    Attributes:
        root: its folder.
        kind: its layout, in words.
        masks: name of the folder of masks, for messages.
        splits: by "train" and "val"; those that are there.
        first: the value that classes count from where no list says more.
        known: class name by value, of a data set that comes without a list.
        void: values that are ignored beside 255.
        colours: value by colour (red, green, blue), of masks that are to be converted.
    """

    root: Path
    kind: str
    masks: str
    splits: Mapping[str, SplitFiles]
    first: int = 0
    known: Mapping[int, str] = field(default_factory=dict)
    void: frozenset[int] = frozenset()
    colours: Mapping[tuple[int, int, int], int] = field(default_factory=dict)

    def split(self, name: str) -> SplitFiles:
        """The files of "train" or "val".

        Raises:
            InputError: there is no such split.
        """
        if name not in self.splits:
            there = f"only {', '.join(self.splits)}" if self.splits else "neither"
            raise InputError(
                f"{self.root} ({self.kind}) has {there} of the splits train and val. Divide images and masks alike, "
                f"in folders called {' or '.join(SPLITS[name])} for {name}; convert-dataset draws one."
            )
        return self.splits[name]

    @property
    def is_ade20k(self) -> bool:
        """ADE20K itself, which comes without a list of classes that one could read."""
        official = self.root.name == _ADE_FOLDER or (self.root / _ADE_LIST).is_file()
        return official and self.masks == "annotations" and self.class_file is None

    @property
    def class_file(self) -> Path | None:
        """The list of classes beside the images."""
        return next((path for name in _LISTS if (path := self.root / name).is_file()), None)

    @property
    def convention(self) -> str:
        """What values mean where no list says more, in words."""
        zero = "0 is a class" if self.first == 0 else "0 is unlabelled"
        void = "".join(f"{value}, " for value in sorted(self.void))
        ignored = f"{void[:-2]} and {IGNORED_LABEL} are" if void else f"{IGNORED_LABEL} is"
        return f"in {self.masks}/ {zero} and {ignored} ignored"


def find_mask_folder(root: str | os.PathLike) -> MaskFolder | None:
    """The images and masks in ``root``, if that is what lies there."""
    root = Path(root)
    for folder in (root, root / _ADE_FOLDER):  # ADE20K's archive has one folder more around it
        for find in (_parallel, _cityscapes, _voc, _beside):
            found = find(folder)
            if found:
                return found
    return None


def _parallel(root: Path) -> MaskFolder | None:
    """``images/train`` and ``masks/train``, under the names in use."""
    for images, masks, first in (("images", "masks", 0), ("images", "annotations", 1), ("img_dir", "ann_dir", 0)):
        if not ((root / images).is_dir() and (root / masks).is_dir()) or (root / "labels").is_dir():
            continue
        if images == "images" and any((root / masks).glob("*.json")):  # COCO's files beside its images
            continue
        splits = {
            name: SplitFiles(root / images / alias, root / masks / alias)
            for name, alias in _aliases()
            if (root / images / alias).is_dir()
        }
        return MaskFolder(root, "images and masks", masks, splits, first)
    return None


def _beside(root: Path) -> MaskFolder | None:
    """``train`` and ``trainannot``."""
    splits = {}
    for name, alias in _aliases():
        for form in _BESIDE:
            if (root / alias).is_dir() and (root / form.format(alias)).is_dir():
                splits[name] = SplitFiles(root / alias, root / form.format(alias))
    if not splits:
        return None
    masks = splits.get("train", splits.get("val")).masks.name
    folder = MaskFolder(root, "images beside masks", masks, splits)
    if masks.endswith("annot") and not folder.class_file:
        return MaskFolder(root, "CamVid", masks, splits, 0, dict(enumerate(_CAMVID.split())), frozenset({11}))
    return folder


def _cityscapes(root: Path) -> MaskFolder | None:
    images, masks = root / "leftImg8bit", root / "gtFine"
    splits = {
        name: SplitFiles(images / name, masks / name, ("_leftImg8bit", "_gtFine_labelIds"))
        for name in SPLITS
        if (images / name).is_dir() and (masks / name).is_dir()
    }
    void = frozenset(range(34)) - _CITYSCAPES.keys()
    return MaskFolder(root, "Cityscapes", "gtFine", splits, 0, _CITYSCAPES, void) if splits else None


def _voc(root: Path) -> MaskFolder | None:
    images, masks, lists = root / "JPEGImages", root / "SegmentationClass", root / "ImageSets" / "Segmentation"
    if not (images.is_dir() and masks.is_dir()):
        return None
    splits = {
        name: SplitFiles(images, masks, listed=path) for name, path in voc_lists(lists).items() if path is not None
    }
    splits = splits or {"train": SplitFiles(images, masks, listed=next(iter(sorted(lists.glob("*.txt"))), None))}
    colours = _label_map(root / "labelmap.txt")
    known = dict(enumerate(colours or _VOC.split()))
    values = {colour: value for value, colour in enumerate(colours.values())}
    kind = "CVAT's masks" if colours else "VOC SegmentationClass"
    return MaskFolder(root, kind, masks.name, splits, 0, known, colours=values)


def _label_map(path: Path) -> dict[str, tuple[int, int, int]]:
    """Colour by class of a CVAT's ``labelmap.txt``, whose lines are ``name:red,green,blue:parts:actions``."""
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    found = (re.match(r"\s*([^#].*?):(\d+),(\d+),(\d+)(?::|\s*$)", line) for line in lines)
    return {match[1].strip(): tuple(int(match[part]) for part in (2, 3, 4)) for match in found if match}


def voc_lists(folder: Path) -> dict[str, Path | None]:
    """The list of each split in a VOC folder of lists.

    ``trainval.txt`` trains where ``train.txt`` is missing, and then ``test.txt`` evaluates.
    """
    wanted = {"train": ("train", "trainval"), "val": ("val", "valid", "test")}
    found = {
        split: next((path for name in names if (path := folder / f"{name}.txt").is_file()), None)
        for split, names in wanted.items()
    }
    if found["train"] and found["train"].stem == "train" and found["val"] and found["val"].stem == "test":
        found["val"] = None  # train.txt and test.txt leave a validation list to be drawn: test images are kept apart
    return found


def names_in(path: str | os.PathLike, folders: bool = False) -> list[str]:
    """The names of a list, one a line, without the suffix of an image; with or without the folders before them.

    Raises:
        InputError: it cannot be read.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"List {path} cannot be read ({error}). It holds one name a line.") from error
    names = [re.sub(r"\s+-?[01]$", "", line.strip()) for line in lines if line.strip()]  # VOC's lists of a class
    paths = [Path(name.replace("\\", "/")) for name in names]
    bare = [path.with_suffix("") if path.suffix.lower() in SUFFIXES else path for path in paths]
    return list(dict.fromkeys(str(path) if folders else path.name for path in bare))


def _aliases() -> Iterator[tuple[str, str]]:
    """(split, name of its folder); of several names the first that is there counts, so it comes last."""
    for name, aliases in SPLITS.items():
        for alias in reversed(aliases):
            yield name, alias
