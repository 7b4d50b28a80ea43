"""The faults of images, masks and class folders in words: what they are, what to do, whether training goes on."""

from collections.abc import Iterable, Mapping, Sequence

from ...errors import InputError
from .coco_check import Fault

_EXAMPLES = 5

# kind: (what follows the count, what to do), and whether training would fail or learn from something else than people
# see.
_KINDS = {
    "absent image": ("listed images do not exist", "Put them there, or take them from the list.", True),
    "missing mask": ("images have no mask", "Put it beside the others, under the same name with .png.", True),
    "missing image": ("masks have no image", "Put it there, or remove the mask.", True),
    "broken mask": ("masks cannot be read", "Export them again.", True),
    "colour mask": (
        "masks hold colours or more than 8 bits, not labels",
        "Write one channel of 8 bits, or a palette: its indices are the labels.",
        True,
    ),
    "lossy mask": ("masks are JPEG files, which changes labels", "Export them as PNG.", True),
    "mask size": ("masks are of another size than their image as training reads it", "Export them again.", True),
    "label value": ("masks hold values outside the class list", "Correct them, or list the classes.", True),
    "empty mask": ("masks without any labelled pixel", "Training learns nothing from them.", False),
    "one class": (
        "class is too few to tell apart",
        'Name the values that are classes in classes.json, for example {"0": "background", "255": "object"}.',
        True,
    ),
    "class names": ("classes are named twice", "Give each its own name.", True),
    "duplicate name": ("images of the same name", "Keep one of each.", True),
    "empty split": ("split without images", "Add images.", True),
    "stray file": ("files that are no images", "Training leaves them out.", False),
    "empty class": ("class folders without images", "Add images or remove the folder.", True),
    "class folders": ("class folders of one split only", "Give both splits the same class folders.", True),
}


def found_faults(places: Mapping[str, Sequence[str]]) -> list[tuple[bool, Fault]]:
    """Faults from the places of each kind, each with whether it is fatal; none of a kind without places."""
    return [
        (_KINDS[kind][2], Fault(kind, len(found), _KINDS[kind][0], tuple(found[:_EXAMPLES]), _KINDS[kind][1]))
        for kind, found in places.items()
        if found
    ]


def refuse_fatal(faults: Iterable[tuple[bool, Fault]], what: str) -> None:
    """Raise an ``InputError`` with all fatal faults of ``what``, one a line; if there are any."""
    lines = "".join(f"\n  - {fault}" for fatal, fault in faults if fatal)
    if lines:
        raise InputError(f"{what} cannot be used:{lines}")
