"""What can be wrong with a data set, in one vocabulary: each kind of fault in words, its remedy, whether it is fatal.

Those who look for faults gather places by kind; ``found`` makes faults of them, ``refuse`` one error of the fatal ones.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from ...errors import InputError, listed

# Pixels. Nothing can be learned from less; more takes a gigabyte for each image that is read.
LEAST_SIDE, MOST_SIDE = 2, 19_999
MOST_PIXELS = 178_956_970  # half a gigabyte in colour; Pillow by itself reads no more either


class _Kind(NamedTuple):
    """Words of a kind of fault; both texts may have fields for ``Fault.words``.

    text: what it is, in words that follow the count.
    remedy: what to do about it.
    fatal: training would fail, or learn from something else than people see.
    """

    text: str
    remedy: str
    fatal: bool = True


_FIX = "check-dataset --fix OUT writes a mended copy."
_EXPORT, _COPY = "Export the annotations again.", "Copy or export them again."
_UNIQUE, _NAMES = "Ids must be unique.", "Give each its own name."
_CONFIG_CLASSES = (
    "The config has {classes}. Set train_dataloader.dataset.metainfo.classes (val_ and test_ likewise) to the names of "
    "the file, in its order, and every num_classes of the model to their number."
)

_KINDS = {
    # COCO's records
    "annotation file": _Kind("annotation file cannot be used", "Correct it."),
    "unannotated": _Kind(
        "annotation file has no list of annotations, as a test file has none",
        "Nothing can be trained on it or rated by it; test --out FILE.json writes predictions.",
    ),
    "image entry": _Kind("broken image entries", _EXPORT),
    "annotation entry": _Kind("broken annotation entries", _EXPORT),
    "category entry": _Kind("broken category entries", _EXPORT),
    "image id": _Kind("image ids that occur twice", _UNIQUE),
    "annotation id": _Kind("annotation ids that occur twice", _UNIQUE),
    "category id": _Kind("category ids that occur twice", _UNIQUE),
    "dangling annotation": _Kind(
        "annotations of an image or a category that is not listed", "Remove them or list what they refer to."
    ),
    "no segmentation": _Kind(
        "annotations without a segmentation",
        "Train a model of boxes (RetinaNet, DINO), or let boxes stand for them: --boxes-as-masks.",
    ),
    "flat polygon": _Kind(
        "segmentations are one list of numbers, not a list of polygons", f"Put it in brackets once more. {_FIX}"
    ),
    "broken polygon": _Kind(
        "segmentations have a polygon of fewer than three points, or of an odd number of numbers", _EXPORT
    ),
    "mask beside box": _Kind("polygons that lie elsewhere than their box", _EXPORT),
    "RLE size": _Kind("segmentations (RLE) are of another size than their image", _EXPORT),
    "broken RLE": _Kind("segmentations (RLE) have counts that do not fill their image", _EXPORT),
    "clipped box": _Kind(
        "boxes reach a little outside their image, by no more than {share} of their area", "Training clips them.", False
    ),
    # Put right on reading
    "backslash": _Kind("file names with backslashes", "They are read as slashes.", False),
    "no iscrowd": _Kind("annotations without iscrowd", "0 is taken.", False),
    "no box": _Kind("annotations without a box", "That around the polygons is taken.", False),
    "no area": _Kind("annotations without an area", "That of the polygons or the box is taken.", False),
    "swapped corners": _Kind("boxes with swapped corners", "They are read the right way round.", False),
    "oriented box": _Kind("oriented boxes, as all are rectangles", "The upright box around each is taken.", False),
    # What training leaves out
    "small image": _Kind(
        "images have a side under {least} pixels, and training leaves them out",
        "--cfg-options train_dataloader.dataset.filter_cfg.min_size=1 keeps them.",
        False,
    ),
    "bare image": _Kind(
        "images without objects, which training leaves out",
        "--cfg-options train_dataloader.dataset.filter_cfg.filter_empty_gt=False keeps them.",
        False,
    ),
    "box outside": _Kind(
        "boxes reach outside their image",
        "Correct them, leave them out of training with --bad-boxes skip, or clip more with --clip-boxes SHARE.",
    ),
    # mmdet leaves these out by itself, and COCO's own train2017 has two: no reason to refuse a file.
    "empty box": _Kind("boxes less than a pixel wide or high, or without area", "Training leaves them out.", False),
    # Classes
    "class twice": _Kind("classes named twice", _NAMES),
    "unknown category": _Kind("categories that the config does not know", _CONFIG_CLASSES),
    "absent category": _Kind("classes of the config that the file does not have", _CONFIG_CLASSES),
    "category order": _Kind("categories in another order than the config's", _CONFIG_CLASSES),
    "other categories": _Kind("categories differ from those of the split before", "Give all splits the same list."),
    "unknown class": _Kind("annotations of a class outside the class list", "Correct them or add the class."),
    "one class": _Kind(
        "class is too few to tell apart",
        'Name the values that are classes in classes.json, for example {{"0": "background", "255": "object"}}.',
    ),
    "empty class": _Kind("class folders without images", "Fill or remove them; images end in {suffixes}."),
    "unsorted image": _Kind("images beside the class folders", "Move each into its class's."),
    "nested image": _Kind(
        "folders of images below a class folder, which belong to no class",
        "Move the images up, or the folder beside it.",
    ),
    "too few classes": _Kind(
        "split with fewer classes than two, which leaves nothing to tell apart",
        "Give the folder that holds one folder a class.",
    ),
    "absent split": _Kind(
        "split that training needs is not there", "Set some images apart for it: {how}."
    ),
    "only crowds": _Kind(
        "objects, all that there are, are crowds (iscrowd 1, or difficult), which no model learns from or is rated by",
        "Take the flag off each that is one object.",
    ),
    "nothing left": _Kind(
        "annotation file leaves nothing to train on",
        "Annotate some objects; small images are kept with "
        "--cfg-options train_dataloader.dataset.filter_cfg.min_size=1.",
    ),
    "class folders": _Kind("class folders of one split only", "Give both splits the same class folders."),
    # Files
    "empty split": _Kind("split without images", "Add images."),
    "missing image": _Kind(
        "of {total} images do not exist in {folder}", "Put them there, or remove them from the file."
    ),
    "absent image": _Kind("annotated or listed images do not exist", "Put them there, or take them from the list."),
    "missing annotation": _Kind("listed images have no annotation file", "Put it there, or take them from the list."),
    "broken annotation": _Kind("annotations cannot be read", "Correct them or export them again."),
    "duplicate name": _Kind("images of the same name", "Keep one of each, with its own annotation."),
    "both splits": _Kind(
        "images are in the training and in the validation split, by name and content",
        "Keep each in one of them.",
        False,
    ),
    "stray file": _Kind("files that are no images", "Training leaves them out.", False),
    # Images
    "broken image": _Kind("images cannot be read", _COPY),
    "damaged image": _Kind(
        "images are damaged, and read with made-up colours", "Copy or export them again.", False
    ),
    "outside image": _Kind(
        "images lie outside their folder, by a full path, .. or a link", "They are read from there.", False
    ),
    "image size": _Kind("images whose annotated size is not that which training reads", _EXPORT),
    "image side": _Kind(
        f"images with a side under {LEAST_SIDE} or over {MOST_SIDE} pixels, more than {MOST_PIXELS // 10**6} million "
        "pixels in all, or so narrow that resizing leaves nothing",
        "Crop or resize them, with their annotations.",
    ),
    "16-bit image": _Kind(
        "images of more than 8 bits a channel, of which training keeps the highest 8: dark ones turn black",
        "Convert them to 8 bits with a scale that suits them all.",
    ),
    "rotated WebP": _Kind(
        "WebP images whose EXIF orientation training does not follow, though viewers do",
        "Save them upright, as JPEG or PNG.",
    ),
    "unturned image": _Kind(
        "images with an EXIF orientation, which the training of classifiers does not follow, though viewers do",
        "Save them upright.",
        False,
    ),
    "rotated image": _Kind("images with an EXIF orientation", "Training reads them upright.", False),
    "CMYK image": _Kind("CMYK images", "Training reads them as RGB without their colour profile.", False),
    "transparent image": _Kind("images with an alpha channel", "Training drops it: hidden colours appear.", False),
    "palette image": _Kind("images with a palette", "Training reads their colours.", False),
    "grey image": _Kind("greyscale images", "Training repeats the one channel three times.", False),
    # Masks
    "missing mask": _Kind("images have no mask", "Put it beside the others, under the same name with .png."),
    "stray mask": _Kind("masks have no image", "Put it there, or remove the mask."),
    "broken mask": _Kind("masks cannot be read", "Export them again."),
    "colour mask": _Kind(
        "masks hold colours or more than 8 bits, not labels",
        "Write one channel of 8 bits, or a palette: its indices are the labels. convert-dataset does so where a "
        "labelmap.txt, as CVAT writes it, names the colours.",
    ),
    "lossy mask": _Kind("masks are JPEG files, which changes labels", "Export them as PNG."),
    "mask size": _Kind("masks are of another size than their image as training reads it", "Export them again."),
    "label value": _Kind(
        "masks hold values outside the class list",
        "List them as classes, or give --void {void} if they mean no class (in classes.json: null for a name).",
    ),
    "misread value": _Kind(
        "list of classes names what no mask holds",
        "The values seem to mean {meant}: write that as classes.json.",
    ),
    "empty mask": _Kind("masks without any labelled pixel", "Training learns nothing from them.", False),
    "only empty masks": _Kind("masks without any labelled pixel, and no other", "There is nothing to learn."),
}


@dataclass(frozen=True)
class Fault:
    """All places of one kind of fault.

    Attributes:
        kind: of ``_KINDS``.
        places: each place where it occurs, in words.
        words: by name of a field in the kind's texts.
    """

    kind: str
    places: tuple[str, ...]
    words: Mapping[str, object] = field(default_factory=dict)

    @property
    def fatal(self) -> bool:
        return _KINDS[self.kind].fatal

    @property
    def count(self) -> int:
        return len(self.places)

    def __str__(self) -> str:
        text, remedy, _ = _KINDS[self.kind]
        return f"{self.count} {text.format(**self.words)}: {listed(self.places)}. {remedy.format(**self.words)}"


def found(places: Mapping[str, Sequence[str]], **words: object) -> list[Fault]:
    """Faults from the places of each kind; none of a kind without places."""
    return [Fault(kind, tuple(where), words) for kind, where in places.items() if where]


def refuse(faults: Iterable[Fault], what: object, verb: str = "used") -> None:
    """Raise one error for all that is fatal.

    Raises:
        InputError: "``what`` cannot be ``verb``", with each fatal fault on a line.
    """
    lines = "".join(f"\n  - {fault}" for fault in faults if fault.fatal)
    if lines:
        raise InputError(f"{what} cannot be {verb}:{lines}")
