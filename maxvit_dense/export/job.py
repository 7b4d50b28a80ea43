"""Export from end to end: written aside, compared with PyTorch, put in place or removed."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import blocked, written_aside
from ..runtime.backends import open_program
from .compare import MEASURES, TOLERANCES, UNITS
from .formats import SUFFIXES, quantize, versions, write_program

SIZES = ((224, 224), (97, 131), (333, 200), (65, 33), (320, 449))  # pixels; none is the one that was traced
_STEM = "model"


class Differs(RuntimeError):
    """The exported program does not give what PyTorch gives; nothing was left behind."""


def export(
    exportable: Any,
    form: str,
    target: Path,
    *,
    precision: str = "fp32",
    calibration: Sequence[dict[str, np.ndarray]] = (),
    sizes: Sequence[tuple[int, int]] = SIZES,
    tolerance: float | None = None,
) -> dict[str, Any]:
    """Writes a folder with the program and its card.

    Args:
        exportable: an ``Exportable`` (``openmmlab.export.whole``).
        form: a key of ``SUFFIXES``.
        target: the folder.
        precision: fp32, bf16 or int8.
        calibration: the program's inputs for some images, for int8, which is compared on them too.
        sizes: of the images, (height, width) in pixels, at which it is compared with PyTorch.
        tolerance: largest difference allowed; by default ``compare.TOLERANCES``.

    Returns:
        The comparison: tolerance, unit and the difference at each size.

    Raises:
        Differs: a difference above the tolerance.
    """
    task = exportable.card.task
    allowed = TOLERANCES[task][precision] if tolerance is None else tolerance
    with written_aside(target) as folder:
        path = (folder / _STEM).with_suffix(SUFFIXES[form])
        write_program(exportable.graph, form, path)
        if precision == "int8":
            quantize(path, calibration)
        run = open_program(path, None, precision)
        differences = {}
        for i, size in enumerate(sizes):
            image = calibration[i % len(calibration)]["image"][0] if calibration else None
            inputs = example_inputs(size, list(exportable.graph.example), image)
            found = dict(zip(exportable.card.outputs, run(inputs), strict=True))
            differences["x".join(map(str, size))] = MEASURES[task](found, exportable.reference(inputs), precision)
        comparison = dict(tolerance=allowed, unit=UNITS[task], differences=differences)
        if not max(differences.values()) <= allowed:  # NaN too
            raise Differs(report(comparison))
        card = replace(exportable.card, precision=precision, versions=versions(form, precision), comparison=comparison)
        path.with_suffix(".json").write_text(card.to_json())
    return comparison


def report(comparison: dict[str, Any]) -> str:
    """The comparison in words."""
    parts = [f"{size} {difference:.1e}" for size, difference in comparison["differences"].items()]
    return f"difference from PyTorch at {', '.join(parts)} {comparison['unit']}; allowed {comparison['tolerance']:.0e}"


def example_inputs(size: tuple[int, int], names: list[str], image: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """A normalised picture and labels asked for at another size.

    Made up, coarse shapes under noise, or of some of the pixels of ``image`` (3, H, W).
    """
    height, width = size
    if image is None:
        random = np.random.default_rng(sum(size))
        coarse = random.normal(size=(3, -(-height // 16), -(-width // 16)))
        shapes = coarse.repeat(16, 1).repeat(16, 2)[:, :height, :width]
        image = shapes + 0.3 * random.normal(size=(3, height, width))
    rows, columns = (np.arange(to) * have // to for to, have in zip(size, image.shape[1:], strict=True))
    inputs = dict(image=image[None, :, rows[:, None], columns].astype(np.float32))
    if "original" in names:
        inputs["original"] = np.array([height + 7, width * 2], np.int64)
    return inputs


def check_target(target: Path, force: bool) -> None:
    """Raises InputError if the folder cannot be written, was not written by an export, or must not be replaced."""
    if problem := blocked(target):
        raise InputError(f"{str(target)!r} cannot be written: {problem}. Give another --out.")
    if not target.exists():
        return
    own = target.is_dir() and (target / f"{_STEM}.json").is_file()
    if not own and not (target.is_dir() and not any(target.iterdir())):
        raise InputError(f"{target} is there and is no earlier export. Give another --out.")
    if own and not force:
        raise InputError(f"{target} holds an earlier export. Give another --out, or --force to replace it.")
