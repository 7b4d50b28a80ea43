"""What one asks of the labels of a data set: which classes, by which names, and whether a box may stand for a mask."""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ...errors import InputError, listed

Pairs = list[tuple[str, str]]  # (name in the files, class), in the order of classes


@dataclass(frozen=True)
class Choice:
    """What the command line says of labels.

    Attributes:
        file: list of all classes in the order of labels, for files that have numbers in place of names.
        keep: the classes to keep, in the order of labels; all if empty.
        renamed: new name by the old one, None to leave a class out; equal names merge.
        void: values of masks that are ignored.
        boxes_as_masks: objects without a mask get their box as one.
    """

    file: str | None = None
    keep: Sequence[str] = ()
    renamed: Mapping[str, str | None] = field(default_factory=dict)
    void: Sequence[int] = ()
    boxes_as_masks: bool = False

    @property
    def selects(self) -> bool:
        """Some classes are left out, merged or renamed."""
        return bool(self.keep or self.renamed)

    @property
    def names(self) -> list[str]:
        """The classes that ``file`` lists.

        Raises:
            InputError: as ``read_class_file``.
        """
        return read_class_file(self.file) if self.file else []

    def pairs(self, names: Iterable[str]) -> Pairs:
        """What becomes of the classes of a data set.

        Raises:
            InputError: a class to keep or to rename that is not there; none is left.
        """
        names = list(names)
        renamed = {name: self.renamed.get(name, name) for name in names}
        there = list(dict.fromkeys(name for name in renamed.values() if name))
        for wanted, known in ((self.renamed, names), (self.keep, there)):
            unknown = [name for name in wanted if name not in known]
            if unknown:
                raise InputError(f"There is no class {listed(unknown)}; there are {listed(known, 30)}.")
        pairs = [(old, name) for name in dict.fromkeys(self.keep or there) for old in names if renamed[old] == name]
        if not pairs:
            raise InputError(f"No class is left of {listed(names, 30)}. Rename fewer of them to null.")
        return pairs

    def of_named(self, files: Iterable[str], names_in: Callable[[str], Iterable[str]]) -> Pairs | None:
        """What becomes of the classes of files that name theirs, any of them in any file; None if all stay.

        A list of classes then is a choice like any other.

        Raises:
            InputError: as ``pairs``, and what ``names_in`` raises of a file.
        """
        if not (self.selects or self.file):
            return None
        known = dict.fromkeys(name for file in files for name in names_in(file))
        return replace(self, keep=self.keep or self.names).pairs(known)


EVERYTHING = Choice()


def new_names(pairs: Sequence[Sequence[str]]) -> list[str]:
    """The classes of ``Choice.pairs``, in their order."""
    return list(dict.fromkeys(name for _, name in pairs))


def choice_of(
    classes: str | None, rename: str | None = None, void: Sequence[int] = (), boxes_as_masks: bool = False
) -> Choice:
    """The choice of a command line.

    Args:
        classes: of ``--classes``: a file, or names with commas between them.
        rename: of ``--rename``: a JSON file with an object of old and new names.
        void, boxes_as_masks: as of ``Choice``.

    Raises:
        InputError: ``rename`` cannot be read; ``classes`` names none.
    """
    is_file = bool(classes) and (os.path.isfile(classes) or classes.endswith((".txt", ".json")))
    keep = () if is_file or not classes else tuple(name.strip() for name in classes.split(",") if name.strip())
    if classes is not None and not (is_file or keep):
        raise InputError(f"--classes {classes!r} names no class. Give names with commas between them, or a file.")
    return Choice(classes if is_file else None, keep, _renaming(rename) if rename else {}, void, boxes_as_masks)


def _renaming(path: str) -> dict[str, str | None]:
    content = read_json(path, "--rename")
    if not isinstance(content, dict) or not all(isinstance(name, str | None) for name in content.values()):
        raise InputError(f'--rename {path} holds no object of old and new names, such as {{"bus": "vehicle"}}.')
    return content


def read_json(path: str | os.PathLike, what: str) -> Any:
    """Content of a JSON file, ``what`` it is for the message.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8-sig"))  # Windows editors begin a file with a mark
    except (OSError, ValueError) as error:
        raise InputError(f"{what} {path} cannot be read ({error}). Correct it.") from error


def read_class_file(path: str | os.PathLike) -> list[str]:
    """Class names of a text file, one a line, or of a JSON file with a list.

    Raises:
        InputError: no such file, or no names in it.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")  # Windows editors begin a file with a mark
        names = json.loads(text) if Path(path).suffix == ".json" else text.splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"Class file {path} cannot be read ({error}). It holds one name a line.") from error
    if not isinstance(names, list) or not all(isinstance(name, str | int | float) for name in names):
        names = []
    names = [str(name).strip() for name in names if str(name).strip()]
    if not names:
        raise InputError(f"Class file {path} names no classes. It holds one name a line, or a JSON list of names.")
    return names


# COCO's records.


def adapted(
    content: dict[str, Any], pairs: Sequence[Sequence[str]] | None, boxes_as_masks: bool, path: object
) -> dict[str, Any]:
    """An annotation file as a choice has it; what it came from stays as it was.

    Args:
        content: what ``coco_file.read_annotations`` returned, its categories sound.
        pairs: of ``Choice.pairs``; None for the file's own categories. A merged class takes its first category's id.
        boxes_as_masks: as of ``Choice``.
        path: of the file, for the message.

    Raises:
        InputError: no category of some class of ``pairs``.
    """
    if pairs is not None:
        content = _with_classes(content, pairs, path)
    if boxes_as_masks:
        content = {**content, "annotations": [_with_mask(entry) for entry in content["annotations"]]}
    return content


def _with_classes(content: dict[str, Any], pairs: Sequence[Sequence[str]], path: object) -> dict[str, Any]:
    by_name = {category["name"]: category for category in content["categories"]}
    kept, new_id = {}, {}
    for old, name in pairs:
        if old in by_name:
            kept.setdefault(name, {**by_name[old], "name": name})
            new_id[by_name[old]["id"]] = kept[name]["id"]
    absent = [name for _, name in pairs if name not in kept]
    if absent:
        raise InputError(f"{path} has no class {listed(absent)}; it has {listed(by_name, 30)}.")
    dropped = {category["id"] for category in content["categories"]} - new_id.keys()
    annotations = []
    for entry in content["annotations"]:
        old = entry.get("category_id") if isinstance(entry, dict) else None
        old = old if isinstance(old, int | str) else None  # others are faults, which the check tells
        if old not in dropped:
            annotations.append(entry if new_id.get(old, old) == old else {**entry, "category_id": new_id[old]})
    return {**content, "categories": list(kept.values()), "annotations": annotations}


def _with_mask(entry: Any) -> Any:
    lacks = isinstance(entry, dict) and entry.get("segmentation") in (None, [], {}, [[]])
    box = entry.get("bbox") if lacks else None
    return {**entry, "segmentation": [corners(box)]} if isinstance(box, list) and len(box) == 4 else entry


def corners(box: Sequence[float]) -> list[float]:
    """The polygon (x1, y1, ...) of a box (x, y, width, height)."""
    x, y, width, height = box
    return [x, y, x + width, y, x + width, y + height, x, y + height]
