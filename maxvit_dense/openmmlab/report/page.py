"""One HTML file, complete in itself, of a run."""

import base64
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from .tally import MIN_IOU, MIN_SCORE, Tally

_MATRIX_CLASSES = 30  # a larger matrix cannot be read; then the commonest confusions are listed
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;max-width:1100px;margin:2em auto;padding:0 1em;color:#222}"
    "h1{font-size:1.5em}h2{font-size:1.15em;margin-top:2em}img{max-width:100%}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "td,th{padding:.2em .6em;border-bottom:1px solid #ddd;text-align:right}td:first-child,th:first-child"
    "{text-align:left}pre{white-space:pre-wrap;background:#f5f5f5;padding:.7em}.wide{overflow-x:auto}"
)


def page(
    title: str,
    facts: Mapping[str, str],
    metrics: Mapping[str, float],
    best: Mapping[str, float],
    tally: Tally | None,
    pictures: Mapping[str, tuple[str, bytes]],
) -> str:
    """The page as text.

    Args:
        title: heading.
        facts: command, versions and the like, by name.
        metrics, best: figures of the last evaluation, and the best of each so far.
        tally: of the last evaluation.
        pictures: (MIME type, content) by heading.
    """
    parts = [f"<h1>{escape(title)}</h1>", _section("Last evaluation", _metrics(metrics, best))]
    for heading, (kind, content) in pictures.items():
        image = f'<img alt="{escape(heading)}" src="data:{kind};base64,{base64.b64encode(content).decode()}">'
        parts.append(_section(heading, image))
    if tally is not None and tally.kind:
        parts.append(_section("Classes", _classes(tally, metrics)))
        parts.append(_section("Confusion", _confusion(tally)))
    lines = "".join(f"<tr><td>{escape(k)}</td><td><pre>{escape(v)}</pre></td></tr>" for k, v in facts.items())
    parts.append(_section("Run", f"<table>{lines}</table>"))
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _section(heading: str, body: str) -> str:
    return f'<h2>{escape(heading)}</h2><div class="wide">{body}</div>'


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{cells}</tr>{body}</table>"


def _metrics(metrics: Mapping[str, float], best: Mapping[str, float]) -> str:
    rows = [(name, f"{value:.4g}", f"{best.get(name, value):.4g}") for name, value in metrics.items()]
    return _table(("figure", "last", "highest so far"), rows) if rows else "<p>No evaluation yet.</p>"


def _classes(tally: Tally, metrics: Mapping[str, float]) -> str:
    """Counts by class; with the metric's own figures of a class, such as its AP, where it gives them."""
    count = len(tally.classes)
    confusion = tally.confusion
    own = [name for name in ("precision",) if any(key.endswith(f"_{name}") for key in metrics)]
    head = ["class", f"true {tally.kind}", "found of these", "right of what was found"]
    head += ["IoU"] if tally.kind == "pixels" else []
    rows = []
    for i, name in enumerate(tally.classes):
        hits, true, found = confusion[i, i], confusion[i].sum(), confusion[:, i].sum()
        row = [name, f"{true}", _share(hits, true), _share(hits, found)]
        row += [_share(hits, true + found - hits)] if tally.kind == "pixels" else []
        row += [_own_figure(name, metrics)] if own else []
        rows.append(row)
    note = ""
    if tally.kind == "objects":
        note = (
            f"<p>Objects of score {MIN_SCORE} and more, matched at IoU {MIN_IOU}. Missed in all: "
            f"{confusion[:count, count].sum()}; found where nothing is: {confusion[count, :count].sum()}.</p>"
        )
    return note + _table(head + (["AP"] if own else []), rows)


def _own_figure(name: str, metrics: Mapping[str, float]) -> str:
    return next((f"{v:.3f}" for k, v in metrics.items() if k.rpartition("/")[2] == f"{name}_precision"), "-")


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%" if whole else "-"


def _confusion(tally: Tally) -> str:
    names = [*tally.classes, *(["nothing"] if tally.kind == "objects" else [])]
    confusion = tally.confusion[: len(names), : len(names)]
    if len(tally.classes) > _MATRIX_CLASSES:
        return _commonest(names, confusion)
    rows = []
    for name, row in zip(names, confusion, strict=True):
        cells = []
        for value in row:
            shade = value / max(row.sum(), 1)
            cells.append(f'<td style="background:rgba(30,110,220,{shade:.2f})">{value}</td>')
        rows.append(f"<tr><th>{escape(name)}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{escape(name)}</th>" for name in names)
    return f"<p>Truth by row, found by column.</p><table><tr><th></th>{head}</tr>{''.join(rows)}</table>"


def _commonest(names: Sequence[str], confusion: np.ndarray) -> str:
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(wrong, axis=None)[::-1][:_MATRIX_CLASSES]
    pairs = [np.unravel_index(place, wrong.shape) for place in order]
    rows = [(names[i], names[j], f"{wrong[i, j]}") for i, j in pairs if wrong[i, j]]
    return _table(("truth", "found", "times"), rows) if rows else "<p>None.</p>"
