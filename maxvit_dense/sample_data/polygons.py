"""Masks as polygons that decode to the very same pixels.

Polygons, as COCO has them, rather than run lengths: mmdet's multi-scale 3x bases load masks with
`poly2mask=False`, and then silently ignore every instance that is not a list of polygons.
"""

import numpy as np

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # right, down, left, up; the next one is a turn to the right


def mask_to_polygons(mask: np.ndarray) -> list[list[int]]:
    """Polygons [x0, y0, x1, y1, ...] along pixel edges whose union is the mask.

    pycocotools rasterises them to exactly the mask. A mask with a hole is cut through the hole, so that each
    polygon encloses nothing but mask.

    Args:
        mask: bool (H, W).
    """
    loops = _outlines(mask)
    hole = next((loop for loop in loops if _signed_area(loop) < 0), None)
    if hole is None:
        return [loop.ravel().tolist() for loop in loops]
    cut = int(hole[:, 0].min() + hole[:, 0].max()) // 2
    left, right = mask.copy(), mask.copy()
    left[:, cut:] = False
    right[:, :cut] = False
    return mask_to_polygons(left) + mask_to_polygons(right)


def _signed_area(loop: np.ndarray) -> float:
    """Positive for an outer outline, negative for a hole (y points down)."""
    x, y = loop[:, 0], loop[:, 1]
    return float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)) / 2


def _outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines (n, 2) of a mask's pieces and holes, mask on the right hand, corners only.

    Pixels that meet at a corner alone belong to different pieces.
    """
    edges = _edges(mask)
    loops = []
    while edges:
        start, (first, *_) = next(iter(edges.items()))
        corner, heading, corners = start, None, []
        while corner in edges:
            # Two ways lead on where pixels meet at a corner: the right turn stays with this piece.
            onward = first if heading is None else (heading + 1) % 4
            if corner == start and heading is not None and onward == first:
                break
            if onward not in edges[corner]:
                onward = edges[corner][0]
            edges[corner].remove(onward)
            if not edges[corner]:
                del edges[corner]
            if onward != heading:
                corners.append(corner)
            heading = onward
            corner = (corner[0] + _STEPS[heading][0], corner[1] + _STEPS[heading][1])
        loops.append(np.array(corners))
    return loops


def _edges(mask: np.ndarray) -> dict[tuple[int, int], list[int]]:
    """Headings that leave each pixel corner (x, y) along the border of the mask."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    open_sides = (  # by heading: the side of the pixel walked along, where the edge starts
        (inner & ~padded[:-2, 1:-1], (0, 0)),
        (inner & ~padded[1:-1, 2:], (1, 0)),
        (inner & ~padded[2:, 1:-1], (1, 1)),
        (inner & ~padded[1:-1, :-2], (0, 1)),
    )
    edges: dict[tuple[int, int], list[int]] = {}
    for heading, (side, (dx, dy)) in enumerate(open_sides):
        rows, columns = np.nonzero(side)
        for corner in zip((columns + dx).tolist(), (rows + dy).tolist(), strict=True):
            edges.setdefault(corner, []).append(heading)
    return edges
