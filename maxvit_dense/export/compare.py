"""Whether an exported program gives what PyTorch gives. Plain numpy."""

from collections.abc import Callable

import numpy as np

from ..predict.results import overlaps

Found = dict[str, np.ndarray]

# Largest difference allowed, in the unit of each task's measure below. Of fp32: other orders of summation. Of the
# others: what rounding may cost before the export is broken; what it does cost is the accuracy on one's own data.
TOLERANCES = dict(
    features=dict(fp32=1e-4, bf16=0.1, int8=0.6),
    classification=dict(fp32=1e-4, bf16=0.1, int8=0.3),
    segmentation=dict(fp32=1e-3, bf16=0.1, int8=0.3),
    detection=dict(fp32=1e-4, bf16=0.1, int8=0.3),
)
UNITS = dict(
    features="of a map's largest value",
    classification="of the largest probability",
    segmentation="of the pixels with another label",
    detection="of an object's score (1: it is missing, moved or outlined otherwise)",
)
_CONFIDENT = 0.3  # objects of lower scores come and go with rounding to 8 and 16 bits
_SAME_BOX = dict(fp32=0.99, bf16=0.8, int8=0.7)  # overlap (IoU)
_SAME_MASK = dict(fp32=1e-3, bf16=0.2, int8=0.4)  # mean difference of probability


def _maps(found: Found, expected: Found, precision: str) -> float:
    return max(
        float(np.abs(found[name] - value).max() / max(np.abs(value).max(), 1e-12)) for name, value in expected.items()
    )


def _probabilities(found: Found, expected: Found, precision: str) -> float:
    return float(np.abs(found["scores"] - expected["scores"]).max() / expected["scores"].max())


def _labels(found: Found, expected: Found, precision: str) -> float:
    return float((found["labels"] != expected["labels"]).mean())


def _objects(found: Found, expected: Found, precision: str) -> float:
    """Each object of one side must be on the other one, but those at the end of the list, which it may have cut.

    The largest difference of fp32; of the others the mean, since rounding may decide which of two neighbours is left.
    """
    sides = (found, expected), (expected, found)
    if precision != "fp32":
        apart = np.concatenate([_missing(a, b, precision, _CONFIDENT) for a, b in sides])
        return float(apart.mean()) if len(apart) else 0.0
    apart = [_missing(a, b, precision, _cut_off(b) + TOLERANCES["detection"]["fp32"]) for a, b in sides]
    return float(np.concatenate(apart).max(initial=0))


def _cut_off(side: Found) -> float:
    return float(side["scores"].min()) if len(side["scores"]) else 0.0


def _missing(found: Found, expected: Found, precision: str, least: float) -> np.ndarray:
    """Difference of score between each object of ``expected`` and its like in ``found``."""
    wanted = np.flatnonzero(expected["scores"] >= least)
    if not len(wanted) or not len(found["scores"]):
        return np.ones(len(wanted))
    shared = [overlaps(found["boxes"], box)[0] for box in expected["boxes"][wanted]]  # of each, over the union
    same = np.stack(shared) >= _SAME_BOX[precision]
    same &= expected["labels"][wanted, None] == found["labels"]
    apart = np.abs(expected["scores"][wanted, None] - found["scores"])
    apart = np.where(same, apart, 1.0)
    partner = apart.argmin(1)
    worst = apart[np.arange(len(wanted)), partner]
    if "masks" in expected:
        outlines = np.abs(expected["masks"][wanted] - found["masks"][partner]).mean((1, 2))
        worst = np.where(outlines > _SAME_MASK[precision], 1.0, worst)
    return worst


MEASURES: dict[str, Callable[[Found, Found, str], float]] = dict(
    features=_maps, classification=_probabilities, segmentation=_labels, detection=_objects
)
