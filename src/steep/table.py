"""Results that somebody already has, as learning curves: the door for a stranger's table.

``read`` takes CSV (any common delimiter), JSON, JSON lines, Parquet, standard input ('-'), a study
folder or a DataFrame; exports of W&B, MLflow and TensorBoard by their column names. Repeated sizes
are replicates. ``columns.py`` states how names are guessed and what numbers mean.

Bad values:
- a cell that is no number, a negative error, a size that is not positive, a size or error above
  1e30, a standard error that is not positive: a problem, named by line and column, all of them at
  once (TableError);
- an empty or NaN or infinite size or error: the row is left out, and that is said;
- a zero error has no logarithm: with ``validation_items`` it counts as half an error among them,
  without them the row is left out, and that is said;
- held-out rows and unfinished trials (columns 'held_out', 'status'): left out, and said;
- different units or metrics (columns 'unit', 'metric') within one curve: a problem.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from steep import columns
from steep.rows import Rows, TableError, load

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Table", "TableCurve", "TableError", "read"]

LARGEST = 1e30
"""Of sizes and errors: forecasts reach far beyond them, and must stay numbers."""
_APART = ("curve", "family", "model", "dataset", "task", "study", "domain", "run_group")
"""Columns that usually tell curves apart; 'curve' does without being asked."""


@dataclass(frozen=True)
class TableCurve:
    """One learning curve: ``steep.fit(curve.frame, **curve.arguments)``."""

    name: str
    columns: dict[str, list[float]]
    """samples, error and, where the table has them, se and parameters; se may hold NaN."""
    unit: str = "samples"
    metric: str = "error"
    notes: tuple[str, ...] = ()
    accuracy: bool = False
    """The table's own numbers are accuracies: error is 1 - those."""

    @cached_property
    def frame(self) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.columns)

    @property
    def arguments(self) -> dict[str, str]:
        """What ``fit`` is told beside the frame."""
        told = {"unit": self.unit, "metric": self.metric}
        return told | {name: name for name in ("se", "parameters") if name in self.columns}


@dataclass(frozen=True)
class Table:
    """A table read: its curves in order of appearance, and what was done to it, in sentences."""

    source: str
    curves: tuple[TableCurve, ...]
    notes: tuple[str, ...] = ()

    def curve(self, name: str) -> TableCurve:
        return {c.name: c for c in self.curves}[name]


def read(
    source: Any,
    *,
    x: str | None = None,
    y: str | None = None,
    by: str | None = None,
    se: str | None = None,
    parameters: str | None = None,
    higher_is_better: bool = False,
    format: str | None = None,
    validation_items: float | None = None,
) -> Table:
    """The learning curves of a table. ``x``, ``y``, ``se``, ``parameters`` and ``by`` are columns.

    ``by`` tells curves apart. ``validation_items`` is the size of the validation set, for zero
    errors. Raises TableError with every problem at once.
    """
    rows = load(source, format)
    desk = _Desk(rows)
    desk.notes += rows.notes
    names = _choose(desk, x, y, by, se, parameters)
    desk.stop_on_problems()
    kept = _left_in(desk)
    values = _Values(desk, names, kept, higher_is_better, validation_items)
    desk.stop_on_problems()
    curves = _split(desk, names, values)
    desk.stop_on_problems()
    notes = tuple(desk.notes)
    return Table(rows.source, tuple(_curve(desk, names, values, *c, notes) for c in curves), notes)


@dataclass
class _Desk:
    """The rows being read, with the problems and notes that come up."""

    rows: Rows
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    bad_cells: list[tuple[int, str]] = field(default_factory=list)

    def bad(self, i: int, column: str, what: str) -> None:
        line = f"{self.rows.place} {self.rows.lines[i]}"
        self.bad_cells.append((i, f"{line}, column {column!r}: {what}"))

    def note(self, i: Sequence[int], what: str) -> None:
        """``what`` of these rows: 'lines 3, 5: ...'."""
        lines = [str(self.rows.lines[k]) for k in i[:5]] + (["..."] if len(i) > 5 else [])
        self.notes.append(f"{what} ({self.rows.place}{'s' * (len(i) > 1)} {', '.join(lines)}).")

    def stop_on_problems(self) -> None:
        problems = self.problems + [text for _, text in sorted(self.bad_cells)]
        if problems:
            raise TableError(problems, self.rows.source)


# ---------------------------------------------------------------- columns


@dataclass(frozen=True)
class _Names:
    x: str
    y: str
    by: str | None
    se: str | None
    parameters: str | None


def _choose(
    desk: _Desk, x: str | None, y: str | None, by: str | None, se: str | None, size: str | None
) -> _Names:
    known = {"--x": columns.X_NAMES, "--y": columns.Y_NAMES}
    chosen_x = _needed(desk, "--x", "training-set sizes", x, "samples", set(known["--x"]))
    chosen_y = _needed(desk, "--y", "errors", y, "error", set(known["--y"]))
    taken = {chosen_x, chosen_y}
    chosen_by = _asked(desk, by)
    if by is None and "curve" in desk.rows.columns and "curve" not in taken:
        chosen_by = "curve"
        desk.notes.append("Column 'curve' tells curves apart.")
    chosen_se = _optional(desk, se, columns.SE_NAMES, "standard errors", taken)
    chosen_size = _optional(desk, size, columns.PARAMETER_NAMES, "model sizes", taken)
    return _Names(chosen_x, chosen_y, chosen_by, chosen_se, chosen_size)


def _needed(
    desk: _Desk, option: str, what: str, asked: str | None, default: str, known: set[str]
) -> str:
    names = desk.rows.columns
    if asked is not None and (asked != default or asked in names):
        return _asked(desk, asked) or ""
    found = columns.guess(names, known)
    if len(found) == 1:
        if found[0] != default:
            desk.notes.append(f"Column {found[0]!r} is taken for the {what}.")
        return found[0]
    if found:
        which = " or ".join(repr(name) for name in found)
        desk.problems.append(f"the {what} could be {which}: choose with {option}")
    else:
        desk.problems.append(
            f"no column looks like {what}: name it with {option}. "
            f"The columns are {', '.join(names)}"
        )
    return ""


def _asked(desk: _Desk, asked: str | None) -> str | None:
    if asked is None:
        return None
    found = columns.find(asked, desk.rows.columns)
    if found is None:
        desk.problems.append(columns.missing(asked, desk.rows.columns))
    elif found != asked:
        desk.notes.append(f"{asked!r} is column {found!r}.")
    return found


def _optional(
    desk: _Desk, asked: str | None, known: set[str], what: str, taken: set[str]
) -> str | None:
    if asked is not None:
        return _asked(desk, asked)
    found = [c for c in desk.rows.columns if columns.normal(c) in known and c not in taken]
    if len(found) != 1:
        return None
    desk.notes.append(f"Column {found[0]!r} is taken for the {what}.")
    return found[0]


# ---------------------------------------------------------------- rows


def _left_in(desk: _Desk) -> list[int]:
    """Rows that are no held-out shard and no unfinished trial."""
    cells = desk.rows.cells
    every = range(len(desk.rows.lines))
    held = {i for i in every if _text(cells, "held_out", i) in ("true", "1", "1.0", "yes")}
    ended = {
        i for i in every if _text(cells, "status", i) not in ("", "complete", "finished", "ok")
    }
    if held:
        desk.note(sorted(held), "Held-out rows are left out")
    if ended:
        desk.note(sorted(ended), "Trials that did not complete are left out")
    return [i for i in every if i not in held | ended]


def _text(cells: dict[str, list[Any]], column: str, i: int) -> str:
    text = str(cells[column][i]).strip().lower() if column in cells else ""
    return "" if text in ("none", "nan", "<na>") else text


@dataclass
class _Values:
    """Numbers of the rows that stay, by row index."""

    desk: _Desk
    names: _Names
    kept: list[int]
    higher_is_better: bool
    validation_items: float | None

    def __post_init__(self) -> None:
        desk, names = self.desk, self.names
        both = [c for name in (names.x, names.y) for c in desk.rows.cells[name]]
        self.comma = desk.rows.delimiter != "," and columns.decimal_comma(both)
        if self.comma:
            desk.notes.append("Commas are read as decimal commas.")
        self.x, _ = self._numbers(names.x, self.kept, True)
        self.raw, signed = self._numbers(names.y, self.kept, False)
        lost = [i for i in self.kept if i in self.x and i in self.raw]
        lost = [i for i in lost if self.x[i] is None or self.raw[i] is None]
        if lost:
            desk.note(lost, "Rows without a size or an error are left out")
        rows = [i for i in self.kept if self.x.get(i) is not None and self.raw.get(i) is not None]
        if not rows and not desk.bad_cells:
            desk.problems.append("no row has both a size and an error")
        self.y: dict[int, float] = {}
        self.metric = "error"
        if rows:
            self._errors(rows, signed)
        self.rows = [i for i in rows if i in self.y]
        self._sizes()
        self.se = self._extra(names.se, "a standard error", self.divisor if rows else 1.0)
        self.parameters = self._extra(names.parameters, "a model size", 1.0)

    divisor = 1.0
    accuracy = False

    def _numbers(
        self, column: str, rows: Sequence[int], suffix: bool
    ) -> tuple[dict[int, float | None], dict[int, bool]]:
        """Row -> number (None where empty), and row -> whether it had a percent sign."""
        values: dict[int, float | None] = {}
        signed: dict[int, bool] = {}
        for i in rows:
            cell = self.desk.rows.cells[column][i]
            try:
                values[i], signed[i] = columns.number(cell, self.comma, suffix)
            except ValueError:
                self.desk.bad(i, column, f"{cell!r} is not a number")
        return values, signed

    def _errors(self, rows: list[int], signed: dict[int, bool]) -> None:
        desk, column = self.desk, self.names.y
        raw = {i: float(self.raw[i] or 0.0) for i in rows}
        found = columns.meaning(
            column, list(raw.values()), [signed[i] for i in rows], self.higher_is_better
        )
        if isinstance(found, str):
            odd = [i for i in rows if not signed[i]] if any(signed.values()) else rows
            where = ", ".join(str(desk.rows.lines[i]) for i in odd[:5])
            desk.problems.append(f"column {column!r}: {found} ({desk.rows.place}s {where})")
            return
        if found.note:
            desk.notes.append(found.note)
        self.metric, self.divisor, self.accuracy = found.metric, found.divisor, found.accuracy
        zero = []
        for i in rows:
            error = found.error(raw[i])
            if error < 0:
                desk.bad(i, column, "an error cannot be negative")
            elif error > LARGEST:
                desk.bad(i, column, "no error is above 1e30")
            elif error < 1e-12:
                zero.append(i)
                if self.validation_items:
                    self.y[i] = 0.5 / self.validation_items
            else:
                self.y[i] = error
        if zero:
            rule = (
                "count as half an error of the validation set"
                if self.validation_items
                else (
                    "have no logarithm and are left out; with the size of the validation set they "
                    "would count as half an error"
                )
            )
            desk.note(zero, f"Zero errors {rule}")

    def _sizes(self) -> None:
        for i in self.kept:
            size = self.x.get(i)
            if size is not None and size <= 0:
                self.desk.bad(i, self.names.x, "a size must be positive")
            if size is not None and size > LARGEST:
                self.desk.bad(i, self.names.x, "no training set has a size above 1e30")

    def _extra(self, column: str | None, what: str, divisor: float) -> dict[int, float]:
        if column is None:
            return {}
        values, signed = self._numbers(column, self.rows, True)
        for i, value in values.items():
            if value is not None and value <= 0:
                self.desk.bad(i, column, f"{what} must be positive")
        return {
            i: math.nan if v is None else v / (100.0 if signed[i] else divisor)
            for i, v in values.items()
        }


# ---------------------------------------------------------------- curves


def _split(desk: _Desk, names: _Names, values: _Values) -> list[tuple[str, list[int]]]:
    """(name, rows) of each curve, in order of appearance."""
    if names.by is None:
        _hint(desk, names, values)
        groups = {desk.rows.source if values.rows else "": values.rows}
    else:
        groups = {}
        for i in values.rows:
            groups.setdefault(str(desk.rows.cells[names.by][i]), []).append(i)
    for name, rows in groups.items():
        for column in ("unit", "units", "metric"):
            if column in desk.rows.cells and column not in (names.x, names.y, names.by):
                found = {_text(desk.rows.cells, column, i) for i in rows} - {""}
                if len(found) > 1:
                    mixed = f"curve {name!r}" if names.by else "the curve"
                    desk.problems.append(
                        f"column {column!r}: {mixed} mixes {', '.join(sorted(found))}; one curve "
                        "has one"
                    )
    return list(groups.items())


def _hint(desk: _Desk, names: _Names, values: _Values) -> None:
    for column in _APART:
        if column in desk.rows.cells and column not in (names.x, names.y):
            count = len({_text(desk.rows.cells, column, i) for i in values.rows})
            if count > 1:
                desk.notes.append(
                    f"Column {column!r} holds {count} different values, taken as one curve: "
                    f"--by {column} tells them apart."
                )


def _curve(
    desk: _Desk,
    names: _Names,
    values: _Values,
    name: str,
    rows: list[int],
    notes: tuple[str, ...],
) -> TableCurve:
    found = {
        "samples": [float(values.x[i] or 0.0) for i in rows],
        "error": [values.y[i] for i in rows],
    }
    for column, extra in (("se", values.se), ("parameters", values.parameters)):
        numbers = [extra.get(i, math.nan) for i in rows]
        if not all(math.isnan(v) for v in numbers):
            found[column] = numbers
    if "parameters" in found and _differ(found["samples"], found["parameters"]):
        notes = (*notes, "Rows of one size differ in model size and are taken as replicates: give "
                 "the best model of each size, or split them with --by.")  # fmt: skip
    unit = columns.X_NAMES.get(columns.normal(names.x), "samples")
    metric = values.metric
    for column in ("unit", "units"):
        unit = _only(desk, column, rows) or unit
    if metric == "error":
        metric = _only(desk, "metric", rows) or metric
    return TableCurve(name, found, unit, metric, notes, values.accuracy)


def _only(desk: _Desk, column: str, rows: Sequence[int]) -> str:
    return next((t for i in rows if (t := _text(desk.rows.cells, column, i))), "")


def _differ(sizes: Sequence[float], parameters: Sequence[float]) -> bool:
    seen: dict[float, float] = {}
    return any(seen.setdefault(m, p) != p for m, p in zip(sizes, parameters, strict=True))
