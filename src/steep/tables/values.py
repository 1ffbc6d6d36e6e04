"""The numbers of a table: cells as sizes, errors, standard errors and model sizes, by row.

Cells that are not numbers, or invalid values for their column, are added to the problems.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from statistics import NormalDist

import numpy as np

from steep.stats.zeros import half_an_item
from steep.tables import words
from steep.tables.amounts import (
    BOTH,
    COMMA,
    POINT,
    Numbers,
    Writing,
    decimal_mark,
    marks,
    numbers_of,
    suffixed,
    together,
)
from steep.tables.columns import ColumnNames, in_cells
from steep.tables.meaning import Meaning, Sizes, Unclear, meaning, sizes_of
from steep.tables.raw import Array, Issues, codes

LARGEST, SMALLEST = 1e30, 1e-30
"""Bounds of sizes and errors: forecasts extend far beyond them and must not overflow."""
ROUNDED = 1e-12
"""1 - accuracy below this is rounding error of a zero."""
_NOTES = {
    (COMMA, "decimal"): "Commas are read as decimal commas.",
    (COMMA, "thousands"): "Commas are read as thousands separators.",
    (POINT, "thousands"): "Points are read as thousands separators.",
}


@dataclass(frozen=True)
class ParsedColumns:
    """The numbers of the rows with a size and an error; optional columns have NaN for gaps."""

    rows: Array
    """The rows' indices in the table."""
    size: Array
    error: Array
    meaning: Meaning
    unit: str
    se: Array | None = None
    parameters: Array | None = None
    unique: Array | None = None


@dataclass(frozen=True)
class How:
    """The user's options about the numbers."""

    x_scale: str | None = None
    y_scale: str | None = None
    higher_is_better: bool = False
    validation_items: float | None = None


def values_of(
    issues: Issues, names: ColumnNames, y: str, metric: str, kept: Array, options: How
) -> ParsedColumns | None:
    """The numbers of the ``kept`` rows with the errors of column ``y``, whose metric is ``metric``.

    None if there was a problem."""
    read = _columns(issues, names, y, kept)
    x, e = read["x"], read["y"]
    complete = ~np.isnan(x.values) & ~np.isnan(e.values)
    bad = np.zeros(len(complete), bool)
    for column in (x, e):
        bad[column.bad] = bad[column.unclear] = True
    logarithms = options.x_scale or words.scale_of(names.x)[1].kind
    without_data = complete & (x.values == 0) & (not logarithms.startswith(("log", "ln")))
    empty = np.flatnonzero(~complete & ~bad)
    if len(empty):
        issues.note(kept[empty], "Rows without a size or an error are left out")
    if without_data.any():
        issues.note(kept[without_data], "Rows without training data (size 0) are left out")
        complete &= ~without_data
    if not complete.any():
        if not issues.has_bad_cells and not issues.problems:
            issues.problems.append("no row has both a size and an error")
        return None
    place = np.flatnonzero(complete)
    sizes = _sizes(issues, names.x, x, kept, place, options.x_scale)
    if sizes is None:
        return None
    size, scale = sizes
    try:
        conversion = meaning(
            metric,
            e.values[place],
            e.percent[place],
            size,
            options.higher_is_better,
            options.y_scale,
            len(names.y) > 1,
        )
    except Unclear as problem:
        odd = place[~e.percent[place]]
        odd = odd if len(odd) else place
        issues.problems.append(f"column {y!r}: {problem} ({issues.where(kept[odd])})")
        return None
    if scale.note:
        issues.notes.append(scale.note[0].upper() + scale.note[1:])
    error = conversion.errors(e.values[place])
    counts, error = _errors(
        issues, names, y, kept[place], size, error, conversion, options.validation_items
    )
    place, size, error = place[counts], size[counts], error[counts]
    rows = kept[place]
    return ParsedColumns(
        rows=rows,
        size=size,
        error=error,
        meaning=conversion,
        unit=scale.unit,
        se=_spreads(issues, names, read, place, rows, conversion, e.values[place]),
        parameters=_beside(
            issues, names.parameters, read.get("parameters"), place, rows, "a model size"
        ),
        unique=_beside(
            issues, names.unique, read.get("unique"), place, rows, "a number of samples"
        ),
    )


# ---------------------------------------------------------------- cells


def _columns(issues: Issues, names: ColumnNames, y: str, kept: Array) -> dict[str, Numbers]:
    """The numbers of the columns by role, read with one decimal mark for all of them."""
    low, high = names.ci or (None, None)
    runs = names.runs if names.runs in issues.table.cells else None
    column_of_role = {
        "x": names.x,
        "y": y,
        "se": names.se,
        "sd": names.sd,
        "low": low,
        "high": high,
    }
    column_of_role |= {"runs": runs, "parameters": names.parameters, "unique": names.unique}
    cells = {
        role: issues.table.cells[c][kept] for role, c in column_of_role.items() if c is not None
    }
    marks_of = {role: decimal_mark(c) if c.dtype == object else "" for role, c in cells.items()}
    decimal = together(marks_of.values())
    numbers_of_role: dict[str, Numbers] = {}
    mark_notes: set[str] = set()
    for role, column in cells.items():
        size = role in ("x", "parameters", "unique", "runs")
        writing = Writing(decimal, marks_of[role], size, issues.table.delimiter == ";")
        numbers = numbers_of_role[role] = numbers_of(column, writing)
        name = column_of_role[role] or ""
        issues.bad(kept[numbers.bad], name, partial(_no_number, issues.table.cells[name]))
        if len(numbers.unclear):
            reason = "decimal commas and decimal points in one column"
            if writing.own != BOTH:
                cell = column[numbers.unclear[0]]
                reason = f"{cell!r} may hold a decimal mark or a thousands separator"
            where = issues.where(kept[numbers.unclear])
            issues.problems.append(
                f"column {name!r}: {reason} ({where}); write all numbers like 1234.5"
            )
        if column.dtype == object:
            unclear = {*numbers.unclear.tolist(), *numbers.bad.tolist()}
            readable = (c for i, c in enumerate(column) if i not in unclear and isinstance(c, str))
            mark_notes |= {_NOTES[m] for c in readable for m in marks(c, writing) if m in _NOTES}
    issues.notes += sorted(mark_notes)
    return numbers_of_role


def _no_number(cells: Array, row: int) -> str:
    return f"{cells[row]!r} is not a number"


# ---------------------------------------------------------------- sizes


def _sizes(
    issues: Issues, name: str, x: Numbers, kept: Array, place: Array, option: str | None
) -> tuple[Array, Sizes] | None:
    """The training-set sizes and their scale; None if there was a problem with the scale."""
    values = x.values[place]
    cells = issues.table.cells[name][kept[place]]
    has_suffix = cells.dtype == object and any(suffixed(c) for c in cells)
    try:
        scale = sizes_of(name, values, x.percent[place], has_suffix, option)
    except Unclear as problem:
        issues.problems.append(str(problem))
        return None
    size = scale.plain(values)
    issues.bad(kept[place[size <= 0]], name, "a size must be positive")
    issues.bad(kept[place[size > LARGEST]], name, "no training set has a size above 1e30")
    too_small = (size > 0) & (size < SMALLEST)
    issues.bad(kept[place[too_small]], name, "no training set has a size below 1e-30")
    return size, scale


def _beside(
    issues: Issues, name: str | None, column: Numbers | None, place: Array, rows: Array, what: str
) -> Array | None:
    """An additional column of sizes (of models or of distinct samples), NaN where it is empty."""
    if column is None or name is None:
        return None
    values = column.values[place]
    given = values[~np.isnan(values)]
    if not len(given):
        return values
    cells = issues.table.cells[name]
    has_suffix = cells.dtype == object and any(suffixed(c) for c in cells[rows])
    try:
        scale = sizes_of(name, given, np.zeros(len(given), bool), has_suffix, None, shares=False)
    except Unclear as problem:
        text = str(problem).replace("--x-scale", "a column without a scale, not --x-scale")
        issues.problems.append(text)
        return values
    if scale.note:
        issues.notes.append(scale.note[0].upper() + scale.note[1:])
    plain = scale.plain(values)
    issues.bad(rows[plain <= 0], name, f"{what} must be positive")
    return plain


# ---------------------------------------------------------------- errors


def _errors(
    issues: Issues,
    names: ColumnNames,
    y: str,
    rows: Array,
    size: Array,
    error: Array,
    conversion: Meaning,
    validation_items: float | None,
) -> tuple[Array, Array]:
    """A mask of the rows that count, and the errors.

    An error of zero becomes half an error of the validation set. If the size of that is unknown,
    all rows of the same training-set size are left out: the mean of the others would be too high.
    """
    # 1 - accuracy is not exactly zero, because of rounding
    zero = np.abs(error) < (ROUNDED if conversion.accuracy else SMALLEST)
    negative = (
        "a perplexity is at least 1"
        if conversion.turned == "perplexity"
        else "an error cannot be negative"
    )
    issues.bad(rows[(error < 0) & ~zero], y, negative)
    issues.bad(rows[error > LARGEST], y, "no error lies above 1e30")
    counts = np.ones(len(error), bool)
    if zero.any() and validation_items:
        error = np.where(zero, half_an_item(validation_items), error)
        issues.note(rows[zero], "Zero errors count as half an error of the validation set")
    elif zero.any():
        groups = group_codes(issues, names.by, rows)
        place = np.unique(np.stack([groups.astype(float), size]), axis=1, return_inverse=True)[
            1
        ].ravel()
        counts = ~np.isin(place, place[zero])
        others = (
            ""
            if counts.sum() + zero.sum() == len(error)
            else ", with the other rows of their sizes"
        )
        issues.note(
            rows[zero],
            f"Zero errors have no logarithm and are left out{others}; with --validation-items they "
            "would count as half an error",
        )
    return counts, error


def group_codes(issues: Issues, columns: Sequence[str], rows: Array) -> Array:
    """The index of each row's combination of values in ``columns``."""
    if not columns:
        return np.zeros(len(rows), int)
    each = [codes(issues.table.cells[c][rows])[0] for c in columns]
    if len(each) == 1:
        return each[0]
    return np.unique(np.stack(each), axis=1, return_inverse=True)[1].ravel()


# ---------------------------------------------------------------- spreads


def _spreads(
    issues: Issues,
    names: ColumnNames,
    read: dict[str, Numbers],
    place: Array,
    rows: Array,
    conversion: Meaning,
    values: Array,
) -> Array | None:
    """Standard errors of the errors, NaN for gaps; None if the table has none."""
    if names.ci is not None:
        low, high = read["low"].values[place], read["high"].values[place]
        level = _level(names.ci)
        issues.bad(rows[high < low], names.ci[1], "the upper bound lies below the lower one")
        issues.notes.append(
            f"Columns {names.ci[0]!r} and {names.ci[1]!r} are taken for the bounds of "
            f"{round(100 * level)} % intervals."
        )
        column, spread = names.ci[0], (high - low) / (2 * NormalDist().inv_cdf(0.5 + level / 2))
    elif names.sd is not None:
        column, spread = names.sd, read["sd"].values[place]
        runs = (
            read["runs"].values[place]
            if "runs" in read
            else np.full(len(place), float(names.runs or 1))
        )
        issues.bad(
            rows[~(runs >= 1)], names.runs or "", "a standard deviation is that of at least 1 run"
        )
        spread = spread / np.sqrt(runs)
    elif names.se is not None:
        column, spread = names.se, read["se"].values[place]
        if words.spread_kind(column) == "sd" and column != in_cells(names.y[0]):
            issues.warnings.append(
                f"{column!r} is by its name a standard deviation, and was requested as a standard "
                f"error: of N runs, --sd {column} --runs N gives narrower intervals."
            )
    else:
        return None
    issues.bad(rows[spread < 0], column, "a standard error cannot be negative")
    if (spread == 0).any():
        issues.note(rows[spread == 0], f"A spread of zero in {column!r} is that of one run, a gap")
    role = "sd" if names.sd else "se"
    signed = read[role].percent[place] if role in read else np.zeros(len(place), bool)
    spread = np.where(spread > 0, spread, np.nan)
    plain = conversion.spread(values, spread)
    return np.where(signed & (conversion.divisor == 1.0), spread / 100.0, plain)


def _level(bounds: tuple[str, str]) -> float:
    """The level of confidence bounds by their names, 95 % by default."""
    match = re.search(r"(?<!\d)(80|90|95|99)(?!\d)", " ".join(bounds))
    return float(match[1]) / 100 if match else 0.95
