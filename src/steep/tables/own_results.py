"""The tables that a study itself writes, read as the study reads them.

``best_fit.csv`` has all that the study's fit is made from: the points with the standard errors of
their scores, why some are not used, the validation set's share and the best-guess level. So a fit
of this file is that of the study. From its other tables no best fits can be told (of trials without
the search's comparisons) or they hold no learning curve at all: they are refused, with a pointer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from steep.base.metrics import counts_items
from steep.records import Point
from steep.tables.raw import RawTable, TableError, codes, word

BEST_FITS = {
    "study", "unit", "metric", "permutation", "samples", "held_out", "used", "error", "se_log",
    "validation_se", "reason",
}  # fmt: skip
OTHERS = {
    "trials": {"study", "permutation", "shard", "seed", "validation_error", "weights_hash"},
    "comparisons of candidates": {"permutation", "samples", "other_hyperparameters"},
    "forecasts": {"metric", "part", "level", "question", "outcome"},
    "errors of validation items": {"permutation", "samples", "group", "errors", "count"},
}
"""Columns by which the other tables of a study are known."""
FITS = {"study", "unit", "metric", "curves", "size_laws", "tuning"}
"""Keys by which a study's ``fits.json`` is known."""
RATE = "error_rate"
"""The column of the error rate, where models were selected by another metric."""


def refuse_others(table: RawTable) -> None:
    """Raises TableError for a table of a study that holds no learning curve of best fits."""
    for what, columns in OTHERS.items():
        if columns <= set(table.columns):
            problem = f"{_not_a_curve(what)}. --x and --y read it as any other table"
            raise TableError([problem], table.source)


def refuse_fits(value: Any, source: str) -> None:
    """Raises TableError for the JSON of a study's fits."""
    if isinstance(value, dict) and value.keys() >= FITS:
        raise TableError([_not_a_curve("fits")], source)


def _not_a_curve(what: str) -> str:
    return (
        f"these are a study's {what}, not its learning curve: give the study's folder, or the "
        "best_fit.csv beside this file"
    )


def points_of_study(table: RawTable, y: str | None) -> dict[str, Any] | None:
    """The fields of the curve that a study's table of best fits holds: that of the metric which
    answers are about, or of the one that selected the models where ``y`` names it. None for any
    other table. Raises TableError for a cell that is no number."""
    if not set(table.columns) >= BEST_FITS:
        return None
    metrics, units = (codes(table.cells[c])[1] for c in ("metric", "unit"))
    if len(metrics) != 1 or len(units) != 1:  # several studies: --by reads each
        return None
    selects = str(metrics[0])
    if y not in (None, "error", selects):
        return None
    rate = RATE in table.columns and (y != selects or selects == "error")
    column, prefix = (RATE, f"{RATE}_") if rate else ("error", "")
    rows = range(len(table.lines))
    texts = {c: [word(v) for v in table.cells[c]] for c in ("held_out", "reason")}
    points = tuple(
        Point(
            samples=_needed(table, "samples", row),
            error=_needed(table, column, row),
            se_log=_number(table, f"{prefix}se_log", row),
            parameters=_number(table, "parameters", row),
            used=not texts["reason"][row],
            reason=texts["reason"][row],
            held_out=texts["held_out"][row] in ("true", "1"),
            regret=_number(table, f"{prefix}regret", row) or 0.0,
        )
        for row in rows
    )
    metric = "error" if rate else selects
    items, shared = _number(table, "validation_items", 0), None
    if not counts_items(metric):
        items, shared = None, _shared(table, points)
    return {
        "columns": _columns(points),
        "unit": str(units[0]),
        "metric": metric,
        "points": points,
        "validation_se": shared,
        "validation_items": items,
        "best_guess": _number(table, f"{prefix}best_guess", 0),
        "notes": ("Read as the study itself fits it: a table of its best fits.",),
    }


def _shared(table: RawTable, points: tuple[Point, ...]) -> float | None:
    """The median over best fits of the validation set's standard error, relative to the score."""
    shares = [
        se / p.error
        for row, p in enumerate(points)
        if p.reason in ("", "capped") and (se := _number(table, "validation_se", row))
    ]
    return float(np.median(shares)) if shares else None


def _columns(points: tuple[Point, ...]) -> dict[str, list[float]]:
    used = [p for p in points if p.used]
    found = {"samples": [p.samples for p in used], "error": [p.error for p in used]}
    if used and all(p.se_log for p in used):
        found["se"] = [(p.se_log or 0.0) * p.error for p in used]
    if any(p.parameters for p in used):
        found["parameters"] = [p.parameters or float("nan") for p in used]
    return found


def _number(table: RawTable, column: str, row: int) -> float | None:
    """A cell's number; None for an empty one."""
    cell = table.cells[column][row] if column in table.cells else ""
    text = word(cell)
    try:
        return float(text) if text else None
    except ValueError:
        place = f"{table.place} {int(table.lines[row])}, column {column!r}"
        raise TableError([f"{place}: not a number: {cell!r}"], table.source) from None


def _needed(table: RawTable, column: str, row: int) -> float:
    value = _number(table, column, row)
    if value is None or not 0 < value < np.inf:
        place = f"{table.place} {int(table.lines[row])}, column {column!r}"
        raise TableError([f"{place}: a number above 0 is needed"], table.source)
    return value
