"""Results of a made-up detector, without a network."""

import numpy as np

CLASSES = ("ant", "bee", "cat")


def found(boxes, scores, labels, size=None, seed=0):
    """A detector's result; with a size (height, width), masks of noise inside their boxes."""
    result = dict(boxes=np.array(boxes, float).reshape(-1, 4), scores=np.array(scores), labels=np.array(labels, int))
    if size:
        random = np.random.default_rng(seed)
        result["masks"] = np.zeros((len(labels), *size), bool)
        for mask, (x1, y1, x2, y2) in zip(result["masks"], result["boxes"].astype(int), strict=True):
            mask[y1:y2, x1:x2] = random.random((y2 - y1, x2 - x1)) < 0.7
    return result
