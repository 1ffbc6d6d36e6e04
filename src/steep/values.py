"""The numbers of a table: cells as sizes, errors, standard errors and model sizes, by row.

What is no number, or cannot be what its column holds, is a problem on the desk.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from steep import columns
from steep.amounts import (
    BOTH,
    COMMA,
    POINT,
    AmbiguousError,
    Writing,
    decimal_mark,
    marks,
    number,
    together,
)
from steep.columns import Meaning, Names
from steep.desk import Desk
from steep.zeros import half_an_item

LARGEST, SMALLEST = 1e30, 1e-30
"""Of sizes and errors: forecasts reach far beyond them, and must stay numbers."""
ROUNDED = 1e-12
"""An error that 1 - accuracy leaves of none."""
_SAID = {
    (COMMA, "decimal"): "Commas are read as decimal commas.",
    (COMMA, "thousands"): "Commas are read as thousands separators.",
    (POINT, "thousands"): "Points are read as thousands separators.",
}


@dataclass(frozen=True)
class Values:
    """Numbers by row. Rows that count have a size and an error; NaN where others have none."""

    rows: tuple[int, ...]
    size: Mapping[int, float]
    error: Mapping[int, float]
    se: Mapping[int, float]
    parameters: Mapping[int, float]
    unique: Mapping[int, float]
    meaning: Meaning


@dataclass(frozen=True)
class _Column:
    """What the cells of one column hold: None where they are empty; which have a percent sign."""

    name: str
    values: Mapping[int, float | None]
    percent: Mapping[int, bool]

    def filled(self, rows: Iterable[int]) -> dict[int, float]:
        return {i: v for i in rows if (v := self.values.get(i)) is not None}


def values_of(
    desk: Desk,
    names: Names,
    kept: Sequence[int],
    higher_is_better: bool,
    validation_items: float | None,
) -> Values:
    """The numbers of the ``kept`` rows."""
    read = _columns(desk, names, kept)
    x, y = read["x"], read["y"]
    empty = [i for i in kept if None in (x.values.get(i, 0.0), y.values.get(i, 0.0))]
    if empty:
        desk.note(empty, "Rows without a size or an error are left out")
    raw = y.filled(x.filled(kept))
    if not raw and not desk.bad_cells and not desk.problems:
        desk.problems.append("no row has both a size and an error")
    _check_sizes(desk, x)
    meaning = _meaning(desk, y, raw, higher_is_better)
    errors = _errors(desk, names, x, raw, meaning, validation_items) if meaning else {}
    meaning = meaning or Meaning()
    se = read.get("se")
    return Values(
        rows=tuple(errors),
        size=x.filled(errors),
        error=errors,
        se=_positive(desk, se, errors, "a standard error", meaning.divisor),
        parameters=_positive(desk, read.get("parameters"), errors, "a model size", 1.0),
        unique=_positive(desk, read.get("unique"), errors, "a number of samples", 1.0),
        meaning=meaning,
    )


# ---------------------------------------------------------------- cells


def _columns(desk: Desk, names: Names, kept: Sequence[int]) -> dict[str, _Column]:
    """What the columns hold, with one decimal mark for all of them."""
    asked = {"x": names.x, "y": names.y, "se": names.se}
    asked |= {"parameters": names.parameters, "unique": names.unique}
    cells = {
        role: [desk.cell(column, i) for i in kept]
        for role, column in asked.items()
        if column is not None
    }
    own = {role: decimal_mark(column) for role, column in cells.items()}
    decimal = together(own.values())
    found: dict[str, _Column] = {}
    said: set[str] = set()
    for role, column in cells.items():
        size = role in ("x", "parameters", "unique")
        how = Writing(decimal, own[role], size, desk.rows.delimiter == ";")
        found[role] = _column(desk, asked[role] or "", dict(zip(kept, column, strict=True)), how)
        for i in found[role].filled(kept):
            said |= {_SAID[m] for m in marks(desk.cell(found[role].name, i), how) if m in _SAID}
    desk.notes += sorted(said)
    return found


def _column(desk: Desk, name: str, cells: Mapping[int, object], how: Writing) -> _Column:
    values: dict[int, float | None] = {}
    percent: dict[int, bool] = {}
    unclear = []
    for i, cell in cells.items():
        try:
            values[i], percent[i] = number(cell, how)
        except AmbiguousError:
            unclear.append(i)
        except ValueError:
            desk.bad(i, name, f"{cell!r} is not a number")
    if unclear:
        why = "decimal commas and decimal points in one column"
        if how.own != BOTH:
            why = f"{cells[unclear[0]]!r} may hold a decimal mark or a thousands separator"
        desk.problems.append(
            f"column {name!r}: {why} ({desk.where(unclear)}); write all numbers like 1234.5"
        )
    return _Column(name, values, percent)


# ---------------------------------------------------------------- what they hold


def _check_sizes(desk: Desk, x: _Column) -> None:
    for i, size in x.filled(x.values).items():
        if size <= 0:
            desk.bad(i, x.name, "a size must be positive")
        if size > LARGEST:
            desk.bad(i, x.name, "no training set has a size above 1e30")


def _meaning(
    desk: Desk, y: _Column, raw: Mapping[int, float], higher_is_better: bool
) -> Meaning | None:
    """What the numbers of the errors mean; None where that is a problem."""
    if not raw:
        return None
    signed = [y.percent[i] for i in raw]
    found = columns.meaning(y.name, list(raw.values()), signed, higher_is_better)
    if isinstance(found, str):
        odd = [i for i in raw if not y.percent[i]] if any(signed) else list(raw)
        desk.problems.append(f"column {y.name!r}: {found} ({desk.where(odd)})")
        return None
    return found


def _errors(
    desk: Desk,
    names: Names,
    x: _Column,
    raw: Mapping[int, float],
    meaning: Meaning,
    validation_items: float | None,
) -> dict[int, float]:
    """Errors by row. A zero error is half an error of the validation set or, where its size is
    not known, takes its size out of the curve: the mean of the other rows would be too high."""
    errors, zero = {}, []
    for i, value in raw.items():
        error = meaning.error(value)
        if error < 0:
            desk.bad(i, names.y, "an error cannot be negative")
        elif error > LARGEST:
            desk.bad(i, names.y, "no error lies above 1e30")
        elif error < (ROUNDED if meaning.accuracy else SMALLEST):
            zero.append(i)
            errors[i] = half_an_item(validation_items) if validation_items else 0.0
        else:
            errors[i] = error
    if zero and validation_items:
        desk.note(zero, "Zero errors count as half an error of the validation set")
    elif zero:
        places = {_place(desk, names, x, i) for i in zero}
        left = {i: e for i, e in errors.items() if _place(desk, names, x, i) not in places}
        alone = len(left) + len(zero) == len(errors)
        others = "" if alone else ", with the other rows of their sizes"
        desk.note(
            zero,
            f"Zero errors have no logarithm and are left out{others}; with --validation-items they "
            "would count as half an error",
        )
        return left
    return errors


def _place(desk: Desk, names: Names, x: _Column, i: int) -> tuple[str, float | None]:
    return ("" if names.by is None else str(desk.cell(names.by, i)), x.values[i])


def _positive(
    desk: Desk, column: _Column | None, rows: Iterable[int], what: str, divisor: float
) -> dict[int, float]:
    """A column beside the errors, NaN where it is empty."""
    if column is None:
        return {}
    found = {}
    for i in rows:
        value = column.values.get(i)
        if value is not None and value <= 0:
            desk.bad(i, column.name, f"{what} must be positive")
        scale = 100.0 if column.percent.get(i) else divisor
        found[i] = math.nan if value is None else value / scale
    return found
