"""The JSON beside an exported file: what it does and how its images are prepared."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError

FORMAT = "maxvit_dense.export/1"
_TASKS = ("classification", "detection", "segmentation", "features")
_PROGRAMS = (".onnx", ".xml", ".pt2")


@dataclass
class Card:
    """Everything that a program needs beside itself.

    Attributes:
        task: one of ``_TASKS``; a detector with ``masks`` among its outputs finds masks too.
        name: the config or the network that was exported.
        classes: names in the order of labels and scores; empty where none were known.
        precision: fp32, bf16 or int8.
        outputs: names, in the program's order.
        preprocessing: ``order`` "rgb" or "bgr", ``mean`` and ``std`` for values 0-255, ``resize`` (a rule of
            ``images.RESIZERS`` with its arguments) and ``pad_multiple``.
        images_per_call: None for any number of equally large images.
        mask_threshold: from which a mask's probability counts as inside.
        mask_values: of a segmentor, the value of each class in the masks of the training data; None of others.
        versions: of the libraries that wrote it.
        comparison: what the check against PyTorch found.
    """

    task: str
    name: str
    classes: list[str]
    precision: str
    outputs: list[str]
    preprocessing: dict[str, Any]
    images_per_call: int | None = None
    mask_threshold: float = 0.5
    mask_values: list[int] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    comparison: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        return json.dumps(dict(format=FORMAT) | asdict(self), indent=1) + "\n"


def find_program(path: Path) -> Path:
    """The program of a folder that an export wrote; any other path as it is."""
    if not path.is_dir():
        return path
    found = [path / f"model{suffix}" for suffix in _PROGRAMS if (path / f"model{suffix}").is_file()]
    if not found:
        raise InputError(f"{path} holds no model{', model'.join(_PROGRAMS)}: give a folder that an export wrote.")
    return found[0]


def read_card(program: Path) -> Card:
    """Reads the card beside a program.

    Raises:
        InputError: there is no such program or card, or another tool wrote it.
    """
    if program.suffix not in _PROGRAMS:
        raise InputError(f"{program} is no exported model: give a file NAME{', NAME'.join(_PROGRAMS)}.")
    if not program.is_file():
        raise InputError(f"There is no exported model {program}. Check the path.")
    path = program.with_suffix(".json")
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError:
        raise InputError(
            f"{program} has no {path.name} beside it, which tells how images are prepared. Copy it from where "
            "maxvit-dense export wrote both; a model exported by something else cannot be run here."
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}). Export the model again.") from error
    if not isinstance(content, dict) or content.pop("format", None) != FORMAT:
        raise InputError(f"{path} was not written by maxvit-dense export of this version (it is no {FORMAT}).")
    try:
        return Card(**content)
    except TypeError as error:
        raise InputError(f"{path} does not describe a model ({error}). Export it again.") from error
